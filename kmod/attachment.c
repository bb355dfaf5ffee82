// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attachments: what a backend holds while it serves a device. When the last descriptor and the last mapping of one are
 * gone, release() tells us that nothing of that backend is left, without anybody having to say so.
 *
 * Each has an inode of its own, from a small pseudo file system, because its mappings are to be emptied alone.
 */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pseudo_fs.h>
#include <linux/slab.h>

#include "hvisor.h"

#define ATTACHMENT_FS_MAGIC 0x48565241

/* Mounted while there are attachments: a mount holds the module. */
static struct vfsmount *attachment_mount;
static int attachment_mounts;

static int attachment_fs_init(struct fs_context *fc)
{
	return init_pseudo(fc, ATTACHMENT_FS_MAGIC) ? 0 : -ENOMEM;
}

static struct file_system_type attachment_fs = {
	.name = "hvisor_attachment",
	.owner = THIS_MODULE,
	.init_fs_context = attachment_fs_init,
	.kill_sb = kill_anon_super,
};

/*
 * The call eventfd was written, by the backend: it has become quiet, or has an interrupt to raise. Interrupts are off
 * and the eventfd's lock is held.
 */
static int attachment_call(wait_queue_entry_t *wait, unsigned int mode, int sync, void *key)
{
	struct hvisor_attachment *attachment = container_of(wait, struct hvisor_attachment, call_wait);
	struct hvisor_dev *dev = attachment->dev;
	u32 pending;

	if (!(key_to_poll(key) & EPOLLIN))
		return 0;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 11, 0)
	{
		u64 count;

		eventfd_ctx_do_read(attachment->call, &count);
	}
#endif
	smp_mb();	/* after the acknowledgement, see hvisor_device_hold() */
	if (READ_ONCE(dev->held_since) || hvisor_devices_awaited())
		hvisor_device_answer_held(dev);
	pending = core_load(&dev->region->irq.interrupt_status) & (REGION_INT_USED | REGION_INT_CONFIG);
	if (pending)
		hvisor_irq_raise(dev);
	else
		dev->spurious++;
	return 0;
}

static void attachment_poll(struct file *file, wait_queue_head_t *head, poll_table *table)
{
	struct hvisor_attachment *attachment = container_of(table, struct hvisor_attachment, call_table);

	attachment->call_head = head;
	add_wait_queue(head, &attachment->call_wait);
}

/* Listens to the call eventfd. */
static int attachment_listen(struct hvisor_attachment *attachment, int fd)
{
	struct file *file = fget(fd);

	if (!file)
		return -EBADF;
	attachment->call = eventfd_ctx_fileget(file);
	if (IS_ERR(attachment->call)) {
		fput(file);
		return PTR_ERR(attachment->call);
	}
	init_waitqueue_func_entry(&attachment->call_wait, attachment_call);
	init_poll_funcptr(&attachment->call_table, attachment_poll);
	vfs_poll(file, &attachment->call_table);
	fput(file);
	return 0;
}

static void attachment_unlisten(struct hvisor_attachment *attachment)
{
	u64 count;

	if (attachment->call_head)
		eventfd_ctx_remove_wait_queue(attachment->call, &attachment->call_wait, &count);
}

static void attachment_free(struct rcu_head *head)
{
	struct hvisor_attachment *attachment = container_of(head, struct hvisor_attachment, rcu);

	eventfd_ctx_put(attachment->kick);
	eventfd_ctx_put(attachment->call);
	hvisor_device_put(attachment->dev);
	kfree(attachment);
}

/* Nothing of the backend is left. */
static int attachment_release(struct inode *inode, struct file *file)
{
	struct hvisor_attachment *attachment = file->private_data;
	struct hvisor_dev *dev;
	unsigned long flags;

	if (!attachment) {	/* hvisor_device_attach() failed half-way */
		simple_release_fs(&attachment_mount, &attachment_mounts);
		return 0;
	}
	dev = attachment->dev;
	attachment_unlisten(attachment);
	mutex_lock(&hv.mutex);
	if (rcu_access_pointer(dev->attachment) == attachment) {
		RCU_INIT_POINTER(dev->attachment, NULL);
		put_pid(dev->owner);
		dev->owner = NULL;
		spin_lock_irqsave(&dev->lock, flags);
		vmmio_detach(&dev->model);
		spin_unlock_irqrestore(&dev->lock, flags);
		hvisor_device_answer_held(dev);
	}
	mutex_unlock(&hv.mutex);
	simple_release_fs(&attachment_mount, &attachment_mounts);
	call_rcu(&attachment->rcu, attachment_free);
	return 0;
}

static const struct file_operations attachment_fops = {
	.owner = THIS_MODULE,
	.mmap = hvisor_attachment_mmap,
	.release = attachment_release,
};

/* A file with an inode of its own; private_data is the caller's to set. */
static struct file *attachment_file(void)
{
	struct inode *inode;
	struct file *file;
	int err;

	err = simple_pin_fs(&attachment_fs, &attachment_mount, &attachment_mounts);
	if (err)
		return ERR_PTR(err);
	inode = alloc_anon_inode(attachment_mount->mnt_sb);
	if (IS_ERR(inode)) {
		file = ERR_CAST(inode);
		goto unpin;
	}
	__module_get(THIS_MODULE);	/* the file's; the caller has one through /dev/hvisor */
	file = alloc_file_pseudo(inode, attachment_mount, "hvisor", O_RDWR, &attachment_fops);
	if (IS_ERR(file)) {
		module_put(THIS_MODULE);
		iput(inode);
		goto unpin;
	}
	return file;

unpin:
	simple_release_fs(&attachment_mount, &attachment_mounts);
	return file;
}

static void attachment_describe(struct hvisor_device_attach *arg, const struct hvisor_dev *dev)
{
	u32 i;

	arg->region_fd = -1;
	arg->memory_fd = -1;
	arg->region_size = dev->region_size;
	arg->region_offset = 0;
	arg->nmemory = dev->zone->nmemory;
	for (i = 0; i < dev->zone->nmemory; i++) {
		arg->memory[i] = dev->zone->memory[i];
		arg->memory_offset[i] = hvisor_memory_offset(dev->zone, i);
	}
}

static int attachment_new(struct hvisor_attachment **out, struct hvisor_dev *dev, int kick_fd)
{
	struct hvisor_attachment *attachment = kzalloc(sizeof(*attachment), GFP_KERNEL);

	if (!attachment)
		return -ENOMEM;
	attachment->kick = eventfd_ctx_fdget(kick_fd);
	if (IS_ERR(attachment->kick)) {
		int err = PTR_ERR(attachment->kick);

		kfree(attachment);
		return err;
	}
	attachment->dev = dev;
	*out = attachment;
	return 0;
}

int hvisor_device_attach(struct hvisor_device_attach *arg)
{
	struct hvisor_dev *dev = hvisor_device_find(arg->id);
	struct hvisor_attachment *attachment;
	unsigned long flags;
	struct file *file;
	int err, fd;

	if (!dev)
		return -ENOENT;
	if (rcu_access_pointer(dev->attachment))
		return -EBUSY;
	err = attachment_new(&attachment, dev, arg->kick_fd);
	if (err)
		return err;
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0) {
		err = fd;
		goto free;
	}
	file = attachment_file();
	if (IS_ERR(file)) {
		err = PTR_ERR(file);
		goto put_fd;
	}
	attachment->file = file;
	attachment->inode = file_inode(file);
	spin_lock_irqsave(&dev->lock, flags);
	vmmio_attach(&dev->model);
	spin_unlock_irqrestore(&dev->lock, flags);
	err = attachment_listen(attachment, arg->call_fd);
	if (err)
		goto detach;
	kref_get(&dev->ref);
	dev->cut_off = false;
	rcu_assign_pointer(dev->attachment, attachment);
	file->private_data = attachment;
	fd_install(fd, file);
	arg->attachment_fd = fd;
	attachment_describe(arg, dev);
	return 0;

detach:
	spin_lock_irqsave(&dev->lock, flags);
	vmmio_detach(&dev->model);
	spin_unlock_irqrestore(&dev->lock, flags);
	fput(file);
put_fd:
	put_unused_fd(fd);
free:
	eventfd_ctx_put(attachment->kick);
	kfree(attachment);
	return err;
}

static int view_release(struct inode *inode, struct file *file)
{
	hvisor_device_put(file->private_data);
	return 0;
}

static const struct file_operations view_fops = {
	.owner = THIS_MODULE,
	.mmap = hvisor_view_mmap,
	.release = view_release,
};

int hvisor_device_view(struct hvisor_device_view *arg)
{
	struct hvisor_dev *dev = hvisor_device_find(arg->id);
	int fd;

	if (!dev)
		return -ENOENT;
	kref_get(&dev->ref);
	fd = anon_inode_getfd("hvisor-view", &view_fops, dev, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		hvisor_device_put(dev);
		return fd;
	}
	arg->region_fd = fd;
	arg->region_size = dev->region_size;
	return 0;
}

void hvisor_attachments_finish(void)
{
	rcu_barrier();	/* attachment_free() is ours */
}
