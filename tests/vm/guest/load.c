/* SPDX-License-Identifier: MIT */
/*
 * A write load that knows what it has written. Several processes, each with blocks of its own, write stamped blocks
 * past the page cache and read them back; in the end all of it is read again. Whatever write() or fdatasync() has
 * acknowledged must be there.
 * usage: load FILE STOP [PROCESSES [PAUSE]]      until a file STOP exists; prints what it did, exits 1 when anything
 * was lost; each process pauses for so many microseconds after ten or so requests
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORKERS 4 /* unless told otherwise */
#define WORKERS_MAX 16
#define BLOCKS 64 /* of each worker */
#define BLOCK 4096u
#define WORDS (BLOCK / sizeof(uint64_t))

struct worker {
	int fd;
	unsigned int number;
	uint64_t generation[BLOCKS];
	uint64_t *buffer; /* aligned, as O_DIRECT wants it */
	uint64_t random;
	unsigned long writes;
	unsigned long reads;
	unsigned long wrong;
};

static uint64_t mix(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9ull;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

static uint64_t worker_random(struct worker *worker)
{
	worker->random += 0x9e3779b97f4a7c15ull;
	return mix(worker->random);
}

static uint64_t word(const struct worker *worker, unsigned int block, unsigned int at)
{
	return mix(((uint64_t)worker->number << 56 | (uint64_t)block << 40 | at) + worker->generation[block] * WORDS);
}

static off_t place(const struct worker *worker, unsigned int block)
{
	return (off_t)(worker->number * BLOCKS + block) * BLOCK;
}

static void complain(struct worker *worker, unsigned int block, const char *what)
{
	worker->wrong++;
	printf("worker %u block %u generation %llu: %s\n", worker->number, block,
	       (unsigned long long)worker->generation[block], what);
}

static void block_write(struct worker *worker, unsigned int block)
{
	unsigned int n;

	worker->generation[block]++;
	for (n = 0; n < WORDS; n++)
		worker->buffer[n] = word(worker, block, n);
	if (pwrite(worker->fd, worker->buffer, BLOCK, place(worker, block)) != (ssize_t)BLOCK)
		complain(worker, block, strerror(errno));
	worker->writes++;
}

static void block_check(struct worker *worker, unsigned int block)
{
	unsigned int n;

	memset(worker->buffer, 0, BLOCK);
	if (pread(worker->fd, worker->buffer, BLOCK, place(worker, block)) != (ssize_t)BLOCK) {
		complain(worker, block, strerror(errno));
		return;
	}
	for (n = 0; n < WORDS && worker->buffer[n] == word(worker, block, n); n++)
		;
	if (n < WORDS)
		complain(worker, block, "holds something else than was written");
	worker->reads++;
}

static int worker_run(const char *file, const char *stop, unsigned int number, useconds_t pause)
{
	struct worker worker = {.number = number, .random = number + 1};
	unsigned int n;

	worker.fd = open(file, O_RDWR | O_CREAT | O_DIRECT, 0600);
	if (worker.fd < 0 || posix_memalign((void **)&worker.buffer, BLOCK, BLOCK) != 0) {
		perror(file);
		return 1;
	}
	for (n = 0; n < BLOCKS; n++)
		block_write(&worker, n);
	while (access(stop, F_OK) != 0) {
		for (n = 0; n < 8; n++)
			block_write(&worker, (unsigned int)(worker_random(&worker) % BLOCKS));
		if (fdatasync(worker.fd) != 0)
			complain(&worker, 0, "fdatasync failed");
		if (pause)
			usleep(pause);
		block_check(&worker, (unsigned int)(worker_random(&worker) % BLOCKS));
	}
	for (n = 0; n < BLOCKS; n++)
		block_check(&worker, n);
	printf("worker %u: %lu writes, %lu reads, %lu wrong\n", number, worker.writes, worker.reads, worker.wrong);
	fflush(stdout);
	return worker.wrong != 0;
}

int main(int argc, char **argv)
{
	unsigned int workers = argc > 3 ? (unsigned int)atoi(argv[3]) : WORKERS;
	useconds_t pause = argc > 4 ? (useconds_t)atoi(argv[4]) : 0;
	unsigned int n;
	int failed = 0;
	int status;

	if (argc < 3 || argc > 5 || workers == 0 || workers > WORKERS_MAX) {
		fprintf(stderr, "usage: load FILE STOP [PROCESSES [PAUSE]]\n");
		return 2;
	}
	for (n = 0; n < workers; n++) {
		pid_t pid = fork();

		if (pid == 0)
			exit(worker_run(argv[1], argv[2], n, pause));
		failed |= pid < 0;
	}
	while (wait(&status) > 0)
		failed |= status != 0;
	return failed;
}
