/* SPDX-License-Identifier: MIT */
/*
 * Sends bytes that follow from a seed and their place alone, or checks that such bytes come: none missing, none wrong,
 * none too many. Prints how many and how fast; exits 1 when anything is not as it should be.
 * usage: stream send|check LENGTH SEED [listen PORT | connect ADDRESS PORT]
 * Without a port they come from standard input, and go to standard output. LENGTH is a number of bytes. Of a stream
 * that has a mark in its last chunk it is, for "send", the path of a file whose appearance ends it, and for "check" the
 * word marked. A SEED that begins with t makes printable bytes.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHUNK 65536u
#define WORDS (CHUNK / sizeof(uint64_t))
#define TEXT_BITS 0x3f3f3f3f3f3f3f3full
#define TEXT_BLANKS 0x2020202020202020ull
#define CONNECT_TRIES 500
#define CONNECT_PAUSE_US 20000
#define LIMIT_S 300 /* of the whole stream, however it is held up */

struct stream {
	int fd;
	uint64_t state;
	bool text;
	bool marked;
	const char *stop; /* or NULL */
	uint64_t length; /* unless marked */
	uint64_t done;
	uint64_t chunk[WORDS];
	uint64_t got[WORDS];
};

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void chunk_next(struct stream *stream)
{
	size_t i;

	for (i = 0; i < WORDS; i++) {
		stream->state ^= stream->state << 13;
		stream->state ^= stream->state >> 7;
		stream->state ^= stream->state << 17;
		stream->chunk[i] = stream->text ? (stream->state & TEXT_BITS) + TEXT_BLANKS : stream->state;
	}
}

static size_t chunk_size(const struct stream *stream)
{
	uint64_t left = stream->length - stream->done;

	return stream->marked || left > CHUNK ? CHUNK : (size_t)left;
}

static void chunk_write(struct stream *stream, size_t size)
{
	const char *bytes = (const char *)stream->chunk;
	size_t at;
	ssize_t n;

	for (at = 0; at < size; at += (size_t)n) {
		n = write(stream->fd, bytes + at, size - at);
		if (n < 0)
			fail("stream: write");
	}
	stream->done += size;
}

static void chunk_read(struct stream *stream, size_t size)
{
	char *bytes = (char *)stream->got;
	size_t at;
	ssize_t n;

	for (at = 0; at < size; at += (size_t)n) {
		n = read(stream->fd, bytes + at, size - at);
		if (n < 0)
			fail("stream: read");
		if (n == 0) {
			fprintf(stderr, "stream: ends after %llu bytes\n", (unsigned long long)(stream->done + at));
			exit(1);
		}
	}
	stream->done += size;
}

static void stream_send(struct stream *stream)
{
	bool last = false;

	while (!last) {
		chunk_next(stream);
		if (stream->marked) {
			last = access(stream->stop, F_OK) == 0;
			stream->chunk[WORDS - 1] ^= last;
		}
		chunk_write(stream, chunk_size(stream));
		if (!stream->marked)
			last = stream->done == stream->length;
	}
}

static void stream_check(struct stream *stream)
{
	bool last = false;
	size_t size;

	while (!last) {
		chunk_next(stream);
		size = chunk_size(stream);
		chunk_read(stream, size);
		if (stream->marked) {
			last = (stream->got[WORDS - 1] ^ stream->chunk[WORDS - 1]) == 1;
			stream->chunk[WORDS - 1] ^= last;
		}
		if (memcmp(stream->got, stream->chunk, size) != 0) {
			fprintf(stderr, "stream: wrong bytes before byte %llu\n", (unsigned long long)stream->done);
			exit(1);
		}
		if (!stream->marked)
			last = stream->done == stream->length;
	}
}

static int accept_one(const char *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	int one = 1;
	int fd;

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(listener, 1) < 0)
		fail("stream: listen");
	fd = accept(listener, NULL, NULL);
	if (fd < 0)
		fail("stream: accept");
	close(listener);
	return fd;
}

/* The other side may be about to listen. */
static int connect_to(const char *host, const char *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
	int tries;
	int fd;

	inet_pton(AF_INET, host, &address.sin_addr);
	for (tries = 0; tries < CONNECT_TRIES; tries++) {
		fd = socket(AF_INET, SOCK_STREAM, 0);
		if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
			return fd;
		if (errno != ECONNREFUSED)
			break;
		close(fd);
		usleep(CONNECT_PAUSE_US);
	}
	fail("stream: connect");
	return -1;
}

/* Each waits for the other's end: the one sees what came too much, the other knows that all has arrived. */
static void connection_end(int fd)
{
	char beyond;

	shutdown(fd, SHUT_WR);
	if (read(fd, &beyond, 1) != 0) {
		fprintf(stderr, "stream: there is more than there should be, or the connection broke\n");
		exit(1);
	}
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	static struct stream stream;
	double begin;
	bool send;

	if (argc < 4)
		return 2;
	send = strcmp(argv[1], "send") == 0;
	stream.marked = argv[2][0] < '0' || argv[2][0] > '9';
	if (stream.marked)
		stream.stop = argv[2];
	else
		stream.length = strtoull(argv[2], NULL, 10);
	stream.text = argv[3][0] == 't';
	stream.state = strtoull(argv[3] + stream.text, NULL, 10) * 0x9e3779b97f4a7c15ull + 1;
	alarm(LIMIT_S);
	if (argc == 4)
		stream.fd = send ? 1 : 0;
	else if (argc == 6)
		stream.fd = accept_one(argv[5]);
	else if (argc == 7)
		stream.fd = connect_to(argv[5], argv[6]);
	else
		return 2;
	begin = now();
	if (send)
		stream_send(&stream);
	else
		stream_check(&stream);
	if (argc > 4)
		connection_end(stream.fd);
	fprintf(stderr, "%llu bytes, %.1f MB/s\n", (unsigned long long)stream.done,
		(double)stream.done / 1e6 / (now() - begin));
	return 0;
}
