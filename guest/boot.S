/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How the checker guest's vCPUs come from where the VMM (PVH, xen/include/public/arch-x86/hvm/
 * start_info.h: 32-bit, no paging, EBX the start information) or a SIPI leaves them to 64-bit mode
 * and on to ring 3, and what they do on interrupts. Ring 0 is kept short: it may be emulated.
 */
#include "boot.h"

	.section .note.pvh, "a", @note
	.balign 4
	.long 4, 8, 18		/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.quad pvh_entry

/* ---- tables -------------------------------------------------------------------------------- */

	.data
	.balign 4096
	.globl boot_pml4, boot_pdpt, boot_pd
boot_pml4:
	.quad boot_pdpt + PTE_TABLE
	.fill 511, 8, 0
boot_pdpt:
	.quad boot_pd + PTE_TABLE
	.quad boot_pd + 0x1000 + PTE_TABLE
	.quad boot_pd + 0x2000 + PTE_TABLE
	.quad boot_pd + 0x3000 + PTE_TABLE
	.fill 508, 8, 0
	/* The first 3 GiB are memory or nothing, the fourth is registers. checker.c knows. */
boot_pd:
	.set page, 0
	.rept 1536
	.quad page + PTE_LARGE
	.set page, page + 0x200000
	.endr
	.rept 512
	.quad page + PTE_LARGE + PTE_UNCACHED
	.set page, page + 0x200000
	.endr

	.balign 16
	.globl boot_gdt
boot_gdt:
	.quad 0
	.quad 0x00af9b000000ffff	/* SEL_CODE64 */
	.quad 0x00cf93000000ffff	/* SEL_DATA */
	.quad 0x00cf9b000000ffff	/* SEL_CODE32 */
	.quad 0x00cff3000000ffff	/* SEL_USER_DATA */
	.quad 0x00affb000000ffff	/* SEL_USER_CODE */
	.globl boot_gdt_tss
boot_gdt_tss:
	.fill 2 * BOOT_VCPUS_MAX, 8, 0
boot_gdt_end:

	.globl boot_gdt_pointer
boot_gdt_pointer:
	.word boot_gdt_end - boot_gdt - 1
	.quad boot_gdt

	.globl boot_next_vcpu, boot_closed, boot_isr_counts
	.balign 4
boot_next_vcpu:
	.long 1
boot_closed:
	.long 0
boot_isr_counts:
	.long 0

	.bss
	.balign 4096
	.globl boot_stacks
boot_stacks:			/* ring 0, one for each vCPU */
	.skip BOOT_VCPUS_MAX * BOOT_STACK
user_stacks:
	.skip BOOT_VCPUS_MAX * BOOT_USER_STACK

/* ---- the first vCPU ------------------------------------------------------------------------ */

	.text
	.code32
	.globl pvh_entry
pvh_entry:
	cli
	cld
	lgdt boot_gdt_pointer
	ljmp $SEL_CODE32, $1f
1:	xorl %edi, %edi		/* vCPU 0 */
	movl %ebx, %esi
	/* fall through */

/* EDI: the vCPU's number, ESI: start information */
long_mode:
	movl $SEL_DATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	xorl %eax, %eax
	movl %eax, %fs
	movl %eax, %gs
	movl $(CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT), %eax
	movl %eax, %cr4
	movl $boot_pml4, %eax
	movl %eax, %cr3
	movl $MSR_EFER, %ecx
	rdmsr
	orl $EFER_LME, %eax
	wrmsr
	movl $CR0_RUN, %eax	/* paging, caches on */
	movl %eax, %cr0
	ljmp $SEL_CODE64, $1f

	.code64
1:	movl %edi, %eax
	incl %eax
	imull $BOOT_STACK, %eax
	leaq boot_stacks(%rax), %rsp
	pushq %rdi
	subq $8, %rsp
	testl %edi, %edi
	jnz 2f
	call checker_boot	/* (vcpu, start information) */
	jmp 3f
2:	call checker_boot_vcpu	/* (vcpu) */
3:	addq $8, %rsp
	popq %rdi
	/* Down to ring 3, interrupts on, I/O allowed, and never back but for interrupts. */
	movl %edi, %eax
	incl %eax
	imull $BOOT_USER_STACK, %eax
	leaq (user_stacks - 8)(%rax), %rax
	pushq $(SEL_USER_DATA | 3)
	pushq %rax
	pushq $(RFLAGS_IF | RFLAGS_IOPL3 | 2)
	pushq $(SEL_USER_CODE | 3)
	pushq $checker_user
	xorl %ebp, %ebp
	iretq

/* ---- the others: copied to BOOT_TRAMPOLINE, below 1 MiB, where a SIPI starts in real mode --- */

	.code16
	.globl boot_trampoline, boot_trampoline_end
boot_trampoline:
	cli
	xorw %ax, %ax
	movw %ax, %ds
	lgdtl BOOT_TRAMPOLINE + trampoline_gdt - boot_trampoline
	movl $1, %eax
	movl %eax, %cr0
	ljmpl $SEL_CODE32, $other_vcpu
	.balign 4
trampoline_gdt:
	.word boot_gdt_end - boot_gdt - 1
	.long boot_gdt
boot_trampoline_end:

	.code32
other_vcpu:
	movl $SEL_DATA, %eax
	movl %eax, %ds
	movl $1, %edi
	lock xaddl %edi, boot_next_vcpu
	cmpl $BOOT_VCPUS_MAX, %edi
	jae 1f
	cmpl $0, boot_closed
	je long_mode
1:	cli			/* too late, or too many: it takes no part */
	hlt
	jmp 1b

/* ---- interrupts ----------------------------------------------------------------------------- */

	.code64
	.macro EOI
	pushq %rcx
	movl $LAPIC_EOI, %ecx
	movl $0, (%rcx)
	popq %rcx
	.endm

	.balign 16
	.globl boot_on_timer, boot_on_spurious
boot_on_timer:			/* GS: this vCPU's count */
	incq %gs:0
	EOI
boot_on_spurious:
	iretq

/*
 * Devices: one count for each vector. Only one vCPU gets a vector, so nothing is locked.
 *
 * Where each interrupt counts (boot_isr_counts), the LAPIC is asked whether it is one: QEMU's TCG
 * lets a nested guest take one that KVM has injected once a second time, when its vCPU is called to
 * something else just then (it comes as an exception with the interrupt's vector). The LAPIC knows
 * of one, and its EOI was given to the first. It is not asked elsewhere, since some KVM end
 * interrupts as they deliver them.
 *
 * Where a register of the device takes the interrupt back (boot_acks), that is done before the EOI,
 * and before it counts: a pin that is level-triggered would come again.
 */
	.balign VECTOR_DEVICE_CODE
	.globl boot_on_devices
boot_on_devices:
	.set vector, VECTOR_DEVICES
	.rept VECTOR_DEVICE_COUNT
	.balign VECTOR_DEVICE_CODE
	cmpl $0, boot_isr_counts
	je 1f
	pushq %rcx
	movl $(LAPIC_ISR + 16 * (vector / 32)), %ecx
	testl $(1 << (vector % 32)), (%rcx)
	popq %rcx
	jz 2f
1:	pushq %rcx
	movl boot_acks + 4 * (vector - VECTOR_DEVICES), %ecx
	jrcxz 3f
	movl $-1, (%rcx)
3:	popq %rcx
	incq boot_irq_counts + 8 * (vector - VECTOR_DEVICES)
	EOI
2:	iretq
	.set vector, vector + 1
	.endr

	.bss
	.balign 64
	.globl boot_irq_counts, boot_acks
boot_irq_counts:
	.skip 8 * VECTOR_DEVICE_COUNT
boot_acks:
	.skip 4 * VECTOR_DEVICE_COUNT
	.text

/* Exceptions end it. 8, 10..14, 17, 21, 29 and 30 push an error code. */
	.balign 16
	.globl boot_on_exceptions
boot_on_exceptions:
	.set vector, 0
	.rept 32
	.balign 16
	.if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || \
	      vector == 29 || vector == 30)
	pushq $0
	.endif
	pushq $vector
	jmp exception
	.set vector, vector + 1
	.endr
exception:
	popq %rdi		/* vector */
	popq %rsi		/* error code */
	movq (%rsp), %rdx	/* RIP */
	movq %cr2, %rcx
	andq $-16, %rsp
	call checker_exception
1:	cli
	hlt
	jmp 1b

/* ---- vector registers ------------------------------------------------------------------------ */

/*
 * Nothing else in the checker uses them, so what is set once must be there for ever, on whichever
 * host. (RDI: seed) and (RDI: seed) -> EAX: 0, or 1 + the register that is wrong.
 */
	.globl boot_sse_set, boot_sse_check, boot_avx_set, boot_avx_check
boot_sse_set:
	.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
	leaq \n(%rdi), %rax
	movq %rax, %xmm\n
	punpcklqdq %xmm\n, %xmm\n
	.endr
	ret

boot_sse_check:
	.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
	movl $(\n + 1), %eax
	leaq \n(%rdi), %rdx
	movdqu %xmm\n, -16(%rsp)
	cmpq %rdx, -16(%rsp)
	jne 1f
	cmpq %rdx, -8(%rsp)
	jne 1f
	.endr
	xorl %eax, %eax
1:	ret

boot_avx_set:
	.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
	leaq \n(%rdi), %rax
	movq %rax, -8(%rsp)
	vbroadcastsd -8(%rsp), %ymm\n
	.endr
	ret

boot_avx_check:
	.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
	movl $(\n + 1), %eax
	leaq \n(%rdi), %rdx
	vmovdqu %ymm\n, -32(%rsp)
	cmpq %rdx, -32(%rsp)
	jne 1f
	cmpq %rdx, -24(%rsp)
	jne 1f
	cmpq %rdx, -16(%rsp)
	jne 1f
	cmpq %rdx, -8(%rsp)
	jne 1f
	.endr
	xorl %eax, %eax
1:	ret

	.section .note.GNU-stack, "", @progbits
