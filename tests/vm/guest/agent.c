/* SPDX-License-Identifier: MIT */
/*
 * Runs the commands that root leaves behind the file system of the zone's own disk. That needs no console and no
 * network, so it works above any hypervisor, and is a load on the disk besides.
 * From AT on, in blocks: 0 "NUMBER|COMMAND|NUMBER", 1 the answer "NUMBER STATUS SIZE NUMBER", 2 and following what the
 * command printed.
 * usage: agent DEVICE
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define AT (64l << 20)
#define BLOCK 4096u
#define OUTPUT_MAX (256u * BLOCK)
#define PAUSE_US 20000
#define OUTPUT "/tmp/output"

/* Past the page cache: root changes the disk below it. */
static void block_io(int fd, char *buffer, size_t size, long block, int write)
{
	off_t at = AT + block * (long)BLOCK;
	ssize_t n = write ? pwrite(fd, buffer, size, at) : pread(fd, buffer, size, at);

	if (n != (ssize_t)size) {
		perror("agent: the disk");
		exit(1);
	}
}

/* A command that is there whole and is not number; its number, or 0. */
static unsigned long command_find(char *buffer, char **command)
{
	char *end;
	unsigned long number;

	buffer[BLOCK - 1] = '\0';
	number = strtoul(buffer, &end, 10);
	if (*end != '|')
		return 0;
	*command = end + 1;
	end = strrchr(*command, '|');
	if (end == NULL || strtoul(end + 1, NULL, 10) != number)
		return 0;
	*end = '\0';
	return number;
}

/* Runs it; what it printed is in buffer, its length in *size. Returns its exit code. */
static int command_run(const char *command, char *buffer, size_t *size)
{
	int fd = open(OUTPUT, O_RDWR | O_CREAT | O_TRUNC, 0600);
	ssize_t n;
	int status = 0;
	pid_t pid;

	pid = fork();
	if (pid == 0) {
		dup2(fd, 1);
		dup2(fd, 2);
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	waitpid(pid, &status, 0);
	n = pread(fd, buffer, OUTPUT_MAX, 0);
	*size = n > 0 ? (size_t)n : 0;
	close(fd);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

int main(int argc, char **argv)
{
	unsigned long last = 0;
	unsigned long number;
	char *command;
	char *buffer;
	size_t size;
	int status;
	int fd;

	if (argc != 2)
		return 2;
	fd = open(argv[1], O_RDWR | O_DIRECT | O_CLOEXEC);
	if (fd < 0 || posix_memalign((void **)&buffer, BLOCK, OUTPUT_MAX) != 0) {
		perror(argv[1]);
		return 1;
	}
	for (;;) {
		block_io(fd, buffer, BLOCK, 0, 0);
		number = command_find(buffer, &command);
		if (number == 0 || number == last) {
			usleep(PAUSE_US);
			continue;
		}
		last = number;
		status = command_run(command, buffer, &size);
		block_io(fd, buffer, (size + BLOCK - 1) / BLOCK * BLOCK, 2, 1);
		memset(buffer, 0, BLOCK);
		sprintf(buffer, "%lu %d %zu %lu\n", number, status, size, number);
		block_io(fd, buffer, BLOCK, 1, 1);
	}
}
