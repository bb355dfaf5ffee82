/* SPDX-License-Identifier: MIT */
/* Entry of the CPUs, the exception vectors, and the way into a guest. */

	.section .text.start, "ax"
	.globl _start
_start:
	msr	daifset, #0xf
	mrs	x1, CurrentEL
	cmp	x1, #(2 << 2)
	b.ne	.			/* needs -machine virtualization=on */
	adrp	x1, bss_start
	add	x1, x1, :lo12:bss_start
	adrp	x2, bss_end
	add	x2, x2, :lo12:bss_end
1:	cmp	x1, x2
	b.hs	2f
	str	xzr, [x1], #8
	b	1b
2:	mov	x0, #0

	/* x0: number of the CPU, given as the argument of PSCI's CPU_ON */
	.globl secondary_start
secondary_start:
	msr	daifset, #0xf
	bl	stack_set
	bl	boot

/* Sets sp to the top of the stack of CPU x0. */
stack_set:
	adrp	x1, stacks
	add	x1, x1, :lo12:stacks
	add	x2, x0, #1
	add	x1, x1, x2, lsl #14
	mov	sp, x1
	ret

	.globl stack_reset_and_idle
stack_reset_and_idle:
	mrs	x0, mpidr_el1
	and	x0, x0, #0xff
	bl	stack_set
	bl	cpu_idle

	.globl guest_enter
guest_enter:
	msr	elr_el2, x0
	mov	x0, #0x3c5		/* EL1h, D, A, I and F masked */
	msr	spsr_el2, x0
	mov	x0, x1
	.irp	n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
	mov	x\n, xzr
	.endr
	eret

	.globl smc
smc:
	smc	#0
	ret

	.macro	from_guest handler
	.balign	128
	sub	sp, sp, #256
	stp	x0, x1, [sp]
	stp	x2, x3, [sp, #16]
	stp	x4, x5, [sp, #32]
	stp	x6, x7, [sp, #48]
	stp	x8, x9, [sp, #64]
	stp	x10, x11, [sp, #80]
	stp	x12, x13, [sp, #96]
	stp	x14, x15, [sp, #112]
	stp	x16, x17, [sp, #128]
	stp	x18, x19, [sp, #144]
	stp	x20, x21, [sp, #160]
	stp	x22, x23, [sp, #176]
	stp	x24, x25, [sp, #192]
	stp	x26, x27, [sp, #208]
	stp	x28, x29, [sp, #224]
	str	x30, [sp, #240]
	mov	x0, sp
	bl	\handler
	b	to_guest
	.endm

	.macro	unexpected number
	.balign	128
	mov	x0, #\number
	b	handle_unexpected
	.endm

	.text
	.balign	2048
	.globl vectors
vectors:
	.irp	n, 0,1,2,3,4,5,6,7
	unexpected \n
	.endr
	from_guest handle_sync
	from_guest handle_irq
	from_guest handle_irq
	unexpected 11
	.irp	n, 12,13,14,15
	unexpected \n
	.endr

to_guest:
	ldp	x2, x3, [sp, #16]
	ldp	x4, x5, [sp, #32]
	ldp	x6, x7, [sp, #48]
	ldp	x8, x9, [sp, #64]
	ldp	x10, x11, [sp, #80]
	ldp	x12, x13, [sp, #96]
	ldp	x14, x15, [sp, #112]
	ldp	x16, x17, [sp, #128]
	ldp	x18, x19, [sp, #144]
	ldp	x20, x21, [sp, #160]
	ldp	x22, x23, [sp, #176]
	ldp	x24, x25, [sp, #192]
	ldp	x26, x27, [sp, #208]
	ldp	x28, x29, [sp, #224]
	ldr	x30, [sp, #240]
	ldp	x0, x1, [sp]
	add	sp, sp, #256
	eret

	.bss
	.balign	16
stacks:
	.space	4 << 14			/* CPUS stacks of 16 KiB */
