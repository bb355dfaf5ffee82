/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * hvisor's hypercalls: one function for each architecture, and a name for each call.
 *
 * Stock hvisor answers an unknown call with 0, so no feature is ever probed by a return code.
 */
#ifndef HVISOR_HYPERCALL_H
#define HVISOR_HYPERCALL_H

#include <linux/types.h>

enum hypercall_code {
	HYPERCALL_INIT_VIRTIO = 0,	/* physical address of the bridge page */
	HYPERCALL_INJECT_IRQ = 1,	/* take what is on the result ring */
	HYPERCALL_ZONE_START = 2,	/* physical address and size of the zone configuration */
	HYPERCALL_ZONE_SHUTDOWN = 3,	/* zone */
	HYPERCALL_ZONE_LIST = 4,	/* physical address and count; returns how many */
	HYPERCALL_CONFIG_CHECK = 6,	/* physical address of a u64 that gets the version */
	HYPERCALL_VIRTIO_IRQ = 86,	/* x86_64: returns the wakeup interrupt */
};

#if defined(CONFIG_ARM64)

static inline long hypercall(u64 code, u64 arg0, u64 arg1)
{
	register u64 x0 asm("x0") = code;
	register u64 x1 asm("x1") = arg0;
	register u64 x2 asm("x2") = arg1;

	asm volatile("hvc #0x4856" : "+r"(x0), "+r"(x1), "+r"(x2) : : "memory");
	return x0;
}

#elif defined(CONFIG_RISCV)

static inline long hypercall(u64 code, u64 arg0, u64 arg1)
{
	register u64 a0 asm("a0") = code;
	register u64 a1 asm("a1") = arg0;
	register u64 a2 asm("a2") = arg1;
	register u64 a7 asm("a7") = 0x114514;

	asm volatile("ecall" : "+r"(a0), "+r"(a1), "+r"(a2) : "r"(a7) : "memory");
	return a1;
}

#elif defined(CONFIG_LOONGARCH)

static inline long hypercall(u64 code, u64 arg0, u64 arg1)
{
	register u64 a0 asm("a0") = code;
	register u64 a1 asm("a1") = arg0;
	register u64 a2 asm("a2") = arg1;

	/* hvcl 0, which assemblers of some years do not know */
	asm volatile(".word 0x002b8000" : "+r"(a0), "+r"(a1), "+r"(a2) : : "memory");
	return a0;
}

#elif defined(CONFIG_X86_64)

static inline long hypercall(u64 code, u64 arg0, u64 arg1)
{
	u64 rax = code;

	asm volatile("vmcall" : "+a"(rax) : "D"(arg0), "S"(arg1) : "memory");
	return rax;
}

#else
#error "hvisor has no hypercall on this architecture"
#endif

#endif
