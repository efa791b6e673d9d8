// SPDX-License-Identifier: GPL-2.0
/*
 * What KZ_MOVE refuses: everything that can be found wrong before anything moves, and so nothing has
 * changed when it does. What it finds right of the ranges stays so, as they are the call's own copy;
 * mappings may be changed by other threads at once, and are looked at again with each piece.
 */
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/pkeys.h>
#include <linux/rmap.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/uaccess.h>
#include <linux/userfaultfd_k.h>

#include "compat.h"
#include "move.h"

/* A mapping's rights, and what its replacement takes over. */
#define KZ_NOTED_VM_FLAGS (VM_READ | VM_WRITE | VM_EXEC | KZ_KEPT_VM_FLAGS)

/* Of these, what may differ within a range, as it often does: only what all of it has is kept. */
#define KZ_HINT_VM_FLAGS (VM_SEQ_READ | VM_RAND_READ | VM_HUGEPAGE | VM_NOHUGEPAGE)

/* Mappings that anonymous memory which may move can't have. */
#define KZ_REFUSED_VM_FLAGS (VM_SPECIAL | VM_HUGETLB | VM_LOCKED | VM_LOCKONFAULT | VM_SHARED | \
			     VM_MAYSHARE | VM_GROWSDOWN | VM_GROWSUP | VM_WIPEONFORK)

static int kz_check_range(const struct kz_range *range, u32 flags, u64 *pages)
{
	u64 end, spanned;

	if (range->reserved || !range->length)
		return -EINVAL;
	if (check_add_overflow(range->addr, range->length, &end))
		return -EOVERFLOW;
	if (end > TASK_SIZE)
		return -ENOMEM;
	if (!(flags & KZ_MOVE_EDGES) && !PAGE_ALIGNED(range->addr | range->length))
		return -EINVAL;
	spanned = (PAGE_ALIGN(end) - (range->addr & PAGE_MASK)) >> PAGE_SHIFT;
	if (check_add_overflow(*pages, spanned, pages))
		return -EOVERFLOW;
	return 0;
}

static int kz_compare_ranges(const void *left, const void *right)
{
	const struct kz_range *a = left, *b = right;

	return a->addr < b->addr ? -1 : a->addr > b->addr;
}

static bool kz_overlap(u64 start, u64 length, u64 other, u64 other_length)
{
	return start < other + other_length && other < start + length;
}

/* Ranges mustn't overlap, nor, if they are to be given up, what tells about them lie in one. */
static int kz_check_overlaps(struct kz_call *call, const struct kz_range *ranges, u64 header,
			     size_t header_size)
{
	const struct kz_move *move = call->move;
	size_t bytes = array_size(move->nr_ranges, sizeof(*ranges));
	u32 i;

	call->sorted = kz_inject_failure(call->steps) ? NULL : kvmalloc(bytes, GFP_KERNEL_ACCOUNT);
	if (!call->sorted)
		return -ENOMEM;
	memcpy(call->sorted, ranges, bytes);
	/* Most come in order, and sort() takes as long for those. */
	for (i = 1; i < move->nr_ranges && ranges[i - 1].addr <= ranges[i].addr; i++)
		;
	if (i < move->nr_ranges)
		sort(call->sorted, move->nr_ranges, sizeof(*ranges), kz_compare_ranges, NULL);
	for (i = 0; i < move->nr_ranges; i++) {
		const struct kz_range *range = call->sorted + i;

		if (i && range->addr < range[-1].addr + range[-1].length)
			return -EINVAL;
		if ((move->flags & (KZ_MOVE_UNMAP | KZ_MOVE_DISCARD)) &&
		    (kz_overlap(range->addr, range->length, move->ranges, bytes) ||
		     kz_overlap(range->addr, range->length, header, header_size)))
			return -EINVAL;
	}
	return 0;
}

/**
 * kz_whole_pages() - how many pages of some memory a call moves
 * @call: whose ranges were found right
 * @start: address where the memory begins
 * @end: and ends
 *
 * Return: pages that are a range's as a whole.
 */
unsigned long kz_whole_pages(const struct kz_call *call, unsigned long start, unsigned long end)
{
	u32 first = 0, behind = call->move->nr_ranges;
	unsigned long bytes = 0;

	/* The first range that doesn't end before the memory begins */
	while (first < behind) {
		u32 middle = first + (behind - first) / 2;

		if (call->sorted[middle].addr + call->sorted[middle].length <= start)
			first = middle + 1;
		else
			behind = middle;
	}
	for (; first < call->move->nr_ranges && call->sorted[first].addr < end; first++) {
		const struct kz_range *range = call->sorted + first;
		unsigned long from = max_t(unsigned long, PAGE_ALIGN(range->addr), start);
		unsigned long to = min_t(unsigned long, (range->addr + range->length) & PAGE_MASK,
					 end);

		bytes += to > from ? to - from : 0;
	}
	return bytes >> PAGE_SHIFT;
}

static bool kz_is_movable(struct vm_area_struct *vma)
{
	unsigned long refused = KZ_REFUSED_VM_FLAGS;

#ifdef VM_DROPPABLE
	refused |= VM_DROPPABLE;
#endif
#ifdef CONFIG_X86_USER_SHADOW_STACK
	refused |= VM_SHADOW_STACK;
#endif
	return vma_is_anonymous(vma) && !(vma->vm_flags & refused) &&
	       (vma->vm_flags & (VM_READ | VM_MAYWRITE)) == (VM_READ | VM_MAYWRITE) &&
	       !vma_pkey(vma) && !userfaultfd_armed(vma);
}

/*
 * Whether pages of a mapping may be others' as well: a forked child's or parent's, or KSM's. Only
 * then it is worth looking which of them pinning has to copy.
 */
static bool kz_may_be_shared(const struct vm_area_struct *vma)
{
	const struct anon_vma *anon_vma = READ_ONCE(vma->anon_vma);

	return vma->vm_flags & VM_MERGEABLE ||
	       (anon_vma && (anon_vma->root != anon_vma || anon_vma->num_children > 1));
}

/**
 * kz_check_memory() - looks at every mapping of a range of pages
 * @start: the first page's address
 * @end: the last one's end
 * @memory: out: what was found
 *
 * The mmap lock is held. Return: 0, -ENOMEM, -EOPNOTSUPP, -EPERM, or -EINTR.
 */
int kz_check_memory(unsigned long start, unsigned long end, struct kz_memory *memory)
{
	struct mm_struct *mm = current->mm;
	unsigned long reached = start;
	struct vm_area_struct *vma;

	/* A mapping made under mlockall() is filled at once, before its gate can open. */
	if (mm->def_flags & VM_LOCKED)
		return -EOPNOTSUPP;
	kz_for_each_mapping(vma, mm, start, end) {
		if (!kz_is_movable(vma))
			return -EOPNOTSUPP;
		if (kz_is_sealed(vma))
			return -EPERM;
		if (reached == start)
			*memory = (struct kz_memory){ .vm_flags = vma->vm_flags & KZ_NOTED_VM_FLAGS };
		else if ((vma->vm_flags ^ memory->vm_flags) & KZ_NOTED_VM_FLAGS & ~KZ_HINT_VM_FLAGS)
			return -EOPNOTSUPP;
		if (fatal_signal_pending(current))
			return -EINTR;
		memory->vm_flags &= vma->vm_flags;
		memory->may_be_shared |= kz_may_be_shared(vma);
		reached = vma->vm_end;
		cond_resched();
	}
	return reached < end ? -ENOMEM : 0;
}

static int kz_check_all_memory(const struct kz_move *move, const struct kz_range *ranges)
{
	struct kz_memory memory;
	int error = 0;
	u32 i;

	if (mmap_read_lock_killable(current->mm))
		return -EINTR;
	for (i = 0; i < move->nr_ranges && !error; i++) {
		const struct kz_range *range = ranges + i;

		error = kz_check_memory(range->addr & PAGE_MASK,
					PAGE_ALIGN(range->addr + range->length), &memory);
		if (!(i % 1024) && fatal_signal_pending(current))
			error = -EINTR;
	}
	mmap_read_unlock(current->mm);
	return error;
}

/**
 * kz_check() - all that can be found wrong before anything moves
 * @call: of the ranges
 * @ranges: a copy of the caller's
 * @header: where the caller's struct is
 * @header_size: of it, bytes
 *
 * Return: 0, or an errno.
 */
long kz_check(struct kz_call *call, struct kz_range *ranges, void __user *header,
	      size_t header_size)
{
	struct kz_move *move = call->move;
	u64 pages = 0;
	long error;
	u32 i;

	for (i = 0; i < move->nr_ranges; i++) {
		error = kz_check_range(ranges + i, move->flags, &pages);
		if (error)
			return error;
		ranges[i].offset = 0;
	}
	if (pages > READ_ONCE(kz_max_call_pages))
		return -E2BIG;
	call->left = pages;
	error = kz_check_overlaps(call, ranges, (unsigned long)header, header_size);
	if (error)
		return error;
	/* The offsets must find their way out, too. */
	if (copy_to_user(u64_to_user_ptr(move->ranges), ranges,
			 array_size(move->nr_ranges, sizeof(*ranges))))
		return -EFAULT;
	return kz_check_all_memory(move, ranges);
}
