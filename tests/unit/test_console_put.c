/* SPDX-License-Identifier: MIT */
/*
 * An emergency character in the middle of a chain: hvisor-console is stepped with ptrace while it puts one, and what a
 * successor would make of its memory is looked at after each instruction.
 */
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/test.h"

#include "backends/console_control.c"
#include "backends/console_endpoint.c"
#include "backends/console_stream.c"

#define START 130000u /* shortly before the buffer's end; any other would do */
#define COPIED 700u /* of the chain in hand */
#define SEEN 41u /* emergency writes, before */

static struct backend backend;
static struct console console;

/* A port whose endpoint takes nothing at present: no system call is made. In memory that two processes share. */
static struct console_port *port_new(void)
{
	struct console_port *port = &console.port[0];
	uint8_t *memory = mmap(NULL, console_output_at(1), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CHECK(memory != MAP_FAILED);
	console.backend = &backend;
	backend.region =
		mmap(NULL, sizeof(struct queue_region), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(backend.region != MAP_FAILED);
	region_state_update(backend.region, &(uint32_t){SEEN}, sizeof(uint32_t));
	console.memory = (struct console_memory *)(void *)memory;
	memory_lay_out(console.memory, 1);
	port->stream = &console.memory->stream[0];
	port->output = memory + console_output_at(0);
	port->full = true;
	port->stream->attached = 1;
	port->stream->out_start = START;
	port->stream->out_end = START + COPIED;
	port->stream->out_sent = START;
	port->stream->out_offset = (int64_t)(console_output_at(0) + START);
	output_skip(port, &port->stream->log_sent, &port->stream->log_offset, START + COPIED);
	return port;
}

static void worker_main(struct console_port *port)
{
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
		_exit(2);
	raise(SIGSTOP);
	_exit(console_put(&console, port, '!', SEEN + 1) ? 0 : 3);
}

/* What a successor would begin with. */
static void check_settled(const struct console_port *port, bool *there)
{
	static struct queue_region region;
	struct console_stream stream = *port->stream;
	uint32_t seen;

	region.state = backend.region->state;
	stream_settle(&stream, 0, &region);
	CHECK_INT(stream.out_end - stream.out_start, COPIED);
	*there = stream.out_end == START + COPIED + 1;
	if (*there)
		CHECK_INT(port->output[(stream.out_end - 1) % CONSOLE_OUTPUT_SIZE], '!');
	else
		CHECK_INT(stream.out_end, START + COPIED);
	/* It comes neither again nor not at all. */
	region_state_read(&region, &seen, sizeof(seen));
	CHECK_INT(seen, SEEN + *there);
	/* Nor does it think of it later, when its own output comes to the same place. */
	stream.out_end = START + COPIED + 1;
	stream.out_start = START + COPIED;
	stream_settle(&stream, 0, &region);
	CHECK_INT(stream.out_start, START + COPIED);
}

static void test_put_at_each_instruction(void)
{
	struct console_port *port = port_new();
	uint64_t before = 0;
	uint64_t after = 0;
	cpu_set_t set;
	bool there;
	int status;
	pid_t pid;

	/* A step is two switches between the processes; on one CPU they are several times cheaper. */
	CPU_ZERO(&set);
	CPU_SET((unsigned int)sched_getcpu(), &set);
	CHECK_INT(sched_setaffinity(0, sizeof(set), &set), 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0)
		worker_main(port);
	CHECK_INT(waitpid(pid, &status, 0), pid);
	while (WIFSTOPPED(status)) {
		check_settled(port, &there);
		*(there ? &after : &before) += 1;
		CHECK_INT(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
		CHECK_INT(waitpid(pid, &status, 0), pid);
	}
	CHECK(WIFEXITED(status));
	CHECK_INT(WEXITSTATUS(status), 0);
	printf("# %llu instructions before it is there, %llu after\n", (unsigned long long)before,
	       (unsigned long long)after);
	CHECK(before > 20 && after > 20);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{"console_put_at_each_instruction", test_put_at_each_instruction, 0},
	};

	return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
