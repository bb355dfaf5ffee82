/* SPDX-License-Identifier: MIT */
#include "tests/sim/guest_net.h"

#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "common/vmmio.h"
#include "tests/test.h"

#define NET_PARTS_MAX 16u
#define NET_CTRL_BYTES 16384u
#define NET_TX_SIZE (GUEST_NET_HDR + GUEST_NET_FRAME_MAX)
#define NET_WAIT_MS 30000

static bool net_has(const struct guest_net *net, uint32_t feature)
{
	return net->dev.features & (1ull << feature);
}

static int net_pair_open(struct guest_net *net, uint32_t index)
{
	const struct guest_net_options *options = &net->options;
	struct guest_net_pair *pair = &net->pair[index];
	uint8_t *area;
	uint32_t i;
	int error;

	*pair = (struct guest_net_pair){0};
	error = guest_vq_open(&pair->rx, &net->dev, options->cpu, 2 * index, options->queue_size, NET_PARTS_MAX);
	if (error)
		return error;
	error = guest_vq_open(&pair->tx, &net->dev, options->cpu, 2 * index + 1, options->queue_size, NET_PARTS_MAX);
	if (error) {
		guest_vq_close(&pair->rx);
		return error;
	}
	net->npairs = index + 1;
	guest_vq_interrupts(&pair->rx, !options->polled);
	guest_vq_interrupts(&pair->tx, false);
	pair->area_bytes = (uint64_t)options->rx_buffers * options->rx_size + GUEST_NET_TX_BUFFERS * NET_TX_SIZE;
	pair->area_gpa = guest_alloc(net->dev.guest, pair->area_bytes);
	pair->rx_buffer = calloc(options->rx_buffers, sizeof(*pair->rx_buffer));
	if (!pair->area_gpa || !pair->rx_buffer)
		return -ENOMEM;
	area = guest_at(net->dev.guest, pair->area_gpa, pair->area_bytes);
	for (i = 0; i < options->rx_buffers; i++) {
		pair->rx_buffer[i].gpa = pair->area_gpa + (uint64_t)i * options->rx_size;
		pair->rx_buffer[i].bytes = area + (uint64_t)i * options->rx_size;
	}
	area += (uint64_t)options->rx_buffers * options->rx_size;
	for (i = 0; i < GUEST_NET_TX_BUFFERS; i++) {
		pair->tx_buffer[i].gpa =
			pair->area_gpa + (uint64_t)options->rx_buffers * options->rx_size + i * NET_TX_SIZE;
		pair->tx_buffer[i].bytes = area + i * NET_TX_SIZE;
	}
	return 0;
}

static int net_ctrl_open(struct guest_net *net)
{
	uint32_t index = 2;
	int error;

	if (!net_has(net, VIRTIO_NET_F_CTRL_VQ))
		return 0;
	/* virtio 1.2, 5.1.2 */
	if (net_has(net, VIRTIO_NET_F_MQ))
		index = 2u * le16toh(net->config.max_virtqueue_pairs);
	error = guest_vq_open(&net->ctrl, &net->dev, net->options.cpu, index, 0, NET_PARTS_MAX);
	if (error)
		return error;
	net->has_ctrl = true;
	net->ctrl_gpa = guest_alloc(net->dev.guest, NET_CTRL_BYTES);
	if (!net->ctrl_gpa)
		return -ENOMEM;
	net->ctrl_bytes = guest_at(net->dev.guest, net->ctrl_gpa, NET_CTRL_BYTES);
	return 0;
}

static int net_start(struct guest_net *net)
{
	uint32_t i;
	int error;

	error = guest_dev_negotiate(&net->dev, net->options.cpu, ~net->options.without);
	if (error)
		return error;
	guest_net_update(net);
	if (net->options.rx_size == 0)
		net->options.rx_size = net_has(net, VIRTIO_NET_F_MRG_RXBUF) ? 2048 : (uint32_t)NET_TX_SIZE;
	for (i = 0; i < net->options.pairs; i++) {
		error = net_pair_open(net, i);
		if (error)
			return error;
	}
	error = net_ctrl_open(net);
	return error ? error : guest_dev_start(&net->dev, net->options.cpu);
}

int guest_net_open(struct guest_net *net, struct guest *guest, uint64_t base, uint32_t irq,
		   const struct guest_net_options *options)
{
	int error;

	memset(net, 0, sizeof(*net));
	error = guest_dev_probe(&net->dev, guest, base, irq, options->cpu);
	if (error)
		return error;
	if (net->dev.device_id != 1)
		return -ENODEV;
	net->options = *options;
	if (net->options.pairs == 0)
		net->options.pairs = 1;
	if (net->options.rx_buffers == 0)
		net->options.rx_buffers = 64;
	if (net->options.rx_parts == 0)
		net->options.rx_parts = 1;
	error = net_start(net);
	if (error)
		guest_net_close(net);
	return error;
}

void guest_net_close(struct guest_net *net)
{
	struct guest_net_pair *pair;

	guest_dev_reset(&net->dev, net->options.cpu);
	while (net->npairs > 0) {
		pair = &net->pair[--net->npairs];
		guest_vq_close(&pair->rx);
		guest_vq_close(&pair->tx);
		guest_free(net->dev.guest, pair->area_gpa, pair->area_bytes);
		free(pair->rx_buffer);
	}
	if (net->has_ctrl) {
		guest_vq_close(&net->ctrl);
		guest_free(net->dev.guest, net->ctrl_gpa, NET_CTRL_BYTES);
		net->has_ctrl = false;
	}
}

void guest_net_update(struct guest_net *net)
{
	guest_dev_interrupt(&net->dev, net->options.cpu);
	guest_dev_config(&net->dev, net->options.cpu, 0, &net->config, offsetof(struct virtio_net_config, speed));
}

void guest_net_fill(struct guest_net *net, uint32_t index, uint32_t n)
{
	struct guest_net_pair *pair = &net->pair[index];
	uint32_t parts = net->options.rx_parts;
	uint32_t size = net->options.rx_size / parts;
	struct guest_buffer part[NET_PARTS_MAX];
	struct guest_net_buffer *buffer;
	uint32_t i, k;
	uint32_t done = 0;

	for (i = 0; i < net->options.rx_buffers && (n == 0 || done < n); i++) {
		buffer = &pair->rx_buffer[i];
		if (buffer->busy)
			continue;
		for (k = 0; k < parts; k++)
			part[k] = (struct guest_buffer){buffer->gpa + k * size, size, true};
		if (guest_vq_add(&pair->rx, part, parts, buffer) < 0)
			break;
		buffer->busy = true;
		done++;
	}
	if (done)
		guest_vq_kick(&pair->rx, net->options.cpu);
}

int guest_net_receive(struct guest_net *net, uint32_t index, struct virtio_net_hdr_v1 *header, uint8_t *frame,
		      uint32_t *buffers)
{
	struct guest_vq *vq = &net->pair[index].rx;
	struct guest_net_buffer *buffer;
	uint32_t len, skip, n, i;
	uint32_t total = 0;

	buffer = guest_vq_get(vq, &len);
	if (!buffer)
		return -1;
	buffer->busy = false;
	if (len == 0)
		return -2;
	CHECK(len > GUEST_NET_HDR);
	memcpy(header, buffer->bytes, GUEST_NET_HDR);
	n = le16toh(header->num_buffers);
	CHECK(n >= 1 && (n == 1 || net_has(net, VIRTIO_NET_F_MRG_RXBUF)));
	if (buffers)
		*buffers = n;
	for (i = 0; i < n; i++) {
		if (i > 0) {
			/* All of a frame's buffers come with the first. */
			buffer = guest_vq_get(vq, &len);
			CHECK(buffer);
			buffer->busy = false;
		}
		CHECK(len <= net->options.rx_size && (i + 1 == n || len == net->options.rx_size));
		skip = i == 0 ? GUEST_NET_HDR : 0;
		CHECK(total + len - skip <= GUEST_NET_FRAME_MAX);
		memcpy(frame + total, buffer->bytes + skip, len - skip);
		total += len - skip;
	}
	return (int)total;
}

int guest_net_await(struct guest_net *net, uint32_t index, struct virtio_net_hdr_v1 *header, uint8_t *frame,
		    int timeout_ms)
{
	uint64_t end = test_now_ns() + (uint64_t)timeout_ms * 1000000u;
	int got;

	while ((got = guest_net_receive(net, index, header, frame, NULL)) == -1 && test_now_ns() < end) {
		guest_dev_interrupt(&net->dev, net->options.cpu);
		poll(NULL, 0, 1);
	}
	return got;
}

bool guest_net_send(struct guest_net *net, uint32_t index, const struct virtio_net_hdr_v1 *header, const void *frame,
		    uint32_t len)
{
	struct guest_net_pair *pair = &net->pair[index];
	struct guest_net_buffer *buffer = NULL;
	struct guest_buffer part;
	uint32_t i;

	for (i = 0; i < GUEST_NET_TX_BUFFERS && !buffer; i++)
		buffer = pair->tx_buffer[i].busy ? NULL : &pair->tx_buffer[i];
	if (!buffer)
		return false;
	if (header)
		memcpy(buffer->bytes, header, GUEST_NET_HDR);
	else
		memset(buffer->bytes, 0, GUEST_NET_HDR);
	memcpy(buffer->bytes + GUEST_NET_HDR, frame, len);
	part = (struct guest_buffer){buffer->gpa, (uint32_t)GUEST_NET_HDR + len, false};
	if (guest_vq_add(&pair->tx, &part, 1, buffer) < 0)
		return false;
	buffer->busy = true;
	return true;
}

void guest_net_kick(struct guest_net *net, uint32_t pair)
{
	guest_vq_kick(&net->pair[pair].tx, net->options.cpu);
}

uint32_t guest_net_sent(struct guest_net *net, uint32_t pair)
{
	struct guest_net_buffer *buffer;
	uint32_t n = 0;

	while ((buffer = guest_vq_get(&net->pair[pair].tx, NULL))) {
		buffer->busy = false;
		n++;
	}
	return n;
}

static int net_ctrl_done(void *arg)
{
	struct guest_net *net = arg;

	guest_dev_interrupt(&net->dev, net->options.cpu);
	return guest_vq_pending(&net->ctrl);
}

int guest_net_control(struct guest_net *net, uint8_t class, uint8_t command, const void *data, uint32_t len)
{
	struct guest_buffer part[3] = {
		{net->ctrl_gpa + 1, 2, false}, {net->ctrl_gpa + 4, len, false}, {net->ctrl_gpa, 1, true}};
	uint32_t written;

	CHECK(len <= NET_CTRL_BYTES - 4);
	net->ctrl_bytes[0] = 0xff;
	net->ctrl_bytes[1] = class;
	net->ctrl_bytes[2] = command;
	if (len)
		memcpy(net->ctrl_bytes + 4, data, len);
	else
		part[1] = part[2];
	CHECK(guest_vq_add(&net->ctrl, part, len ? 3 : 2, net) >= 0);
	guest_vq_kick(&net->ctrl, net->options.cpu);
	if (!test_wait(net_ctrl_done, net, NET_WAIT_MS))
		return -1;
	CHECK(guest_vq_get(&net->ctrl, &written));
	CHECK_INT(written, 1);
	return net->ctrl_bytes[0];
}
