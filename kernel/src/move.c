// SPDX-License-Identifier: GPL-2.0
/*
 * KZ_MOVE: looks at everything that was asked for, and then range by range
 *
 *	prepares	pins the pages, so that they stay where they are; copies edges; makes room
 *	replaces	the owner's mapping by one of the file, or by nothing
 *	commits		the pages, which are in no page table any more, into the file
 *
 * Until a range's mapping is replaced it can be given up and nothing has changed; from there on
 * nothing fails.
 */
#include <linux/file.h>
#include <linux/highmem.h>
#include <linux/mman.h>
#include <linux/overflow.h>
#include <linux/pkeys.h>
#include <linux/rmap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/uaccess.h>
#include <linux/userfaultfd_k.h>

#include "compat.h"
#include "kernelzero.h"

#define KZ_PIN_BATCH 512

/* The rights of a mapping, and what its replacement takes over: one range has the same throughout. */
#define KZ_UNIFORM_VM_FLAGS (VM_READ | VM_WRITE | VM_EXEC | KZ_KEPT_VM_FLAGS)

/* Mappings that anonymous memory which may move can't have. */
#define KZ_REFUSED_VM_FLAGS (VM_SPECIAL | VM_HUGETLB | VM_LOCKED | VM_LOCKONFAULT | VM_SHARED | \
			     VM_MAYSHARE | VM_GROWSDOWN | VM_GROWSUP | VM_WIPEONFORK)

/**
 * struct kz_call - one KZ_MOVE
 * @move: the caller's header, where what has been done is accounted for
 * @steps: fault injection
 * @file: to append to; @kf: its state
 * @drained: whether the LRU's batches were drained already
 */
struct kz_call {
	struct kz_move *move;
	struct kz_steps *steps;
	struct file *file;
	struct kz_file *kf;
	bool drained;
};

/**
 * struct kz_edge - bytes that share their page with others'
 * @copy: a page of zeros but for the bytes; NULL if there are none
 * @page: which of the range's pages they are in
 */
struct kz_edge {
	struct page *copy;
	unsigned long page;
};

/**
 * struct kz_span - a range on its way
 * @start, @end: addresses; bytes
 * @inner, @inner_end: addresses of the whole pages among them, which move
 * @first: address of the first page, whole or not
 * @total: pages, edges among them
 * @pages: the whole ones, @count of them, of which @pinned are pinned
 * @broken: how many of those are copies that pinning has made, as others have the page too
 * @view_flags, @prot: of the mapping that is replaced
 * @base: the first page's index in the file
 * @edges: head and tail
 */
struct kz_span {
	unsigned long start, end;
	unsigned long inner, inner_end;
	unsigned long first;
	unsigned long total;
	struct page **pages;
	unsigned long count, pinned, broken;
	unsigned long view_flags, prot;
	pgoff_t base;
	struct kz_edge edges[2];
};

/* What is asked for */

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
static int kz_check_overlaps(const struct kz_move *move, const struct kz_range *ranges, u64 header,
			     size_t header_size, struct kz_steps *steps)
{
	size_t bytes = array_size(move->nr_ranges, sizeof(*ranges));
	struct kz_range *sorted;
	int error = 0;
	u32 i;

	sorted = kz_step_fails(steps) ? NULL : kvmalloc(bytes, GFP_KERNEL_ACCOUNT);
	if (!sorted)
		return -ENOMEM;
	memcpy(sorted, ranges, bytes);
	sort(sorted, move->nr_ranges, sizeof(*sorted), kz_compare_ranges, NULL);
	for (i = 0; i < move->nr_ranges && !error; i++) {
		const struct kz_range *range = sorted + i;

		if (i && range->addr < range[-1].addr + range[-1].length)
			error = -EINVAL;
		if ((move->flags & KZ_MOVE_UNMAP) &&
		    (kz_overlap(range->addr, range->length, move->ranges, bytes) ||
		     kz_overlap(range->addr, range->length, header, header_size)))
			error = -EINVAL;
	}
	kvfree(sorted);
	return error;
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

/* Looks at every mapping that pages from @start to @end are in; mmap lock held. */
static int kz_check_memory(unsigned long start, unsigned long end, unsigned long *vm_flags)
{
	struct mm_struct *mm = current->mm;
	unsigned long reached = start;
	struct vm_area_struct *vma;
	VMA_ITERATOR(vmi, mm, start);

	/* A mapping made under mlockall() is filled at once, before its gate can open. */
	if (mm->def_flags & VM_LOCKED)
		return -EOPNOTSUPP;
	for_each_vma_range(vmi, vma, end) {
		if (vma->vm_start > reached)
			return -ENOMEM;
		if (!kz_is_movable(vma))
			return -EOPNOTSUPP;
		if (reached == start)
			*vm_flags = vma->vm_flags & KZ_UNIFORM_VM_FLAGS;
		else if ((vma->vm_flags & KZ_UNIFORM_VM_FLAGS) != *vm_flags)
			return -EOPNOTSUPP;
		reached = vma->vm_end;
	}
	return reached < end ? -ENOMEM : 0;
}

static int kz_check_all_memory(const struct kz_move *move, const struct kz_range *ranges)
{
	unsigned long vm_flags;
	int error = 0;
	u32 i;

	if (mmap_read_lock_killable(current->mm))
		return -EINTR;
	for (i = 0; i < move->nr_ranges && !error; i++) {
		const struct kz_range *range = ranges + i;

		error = kz_check_memory(range->addr & PAGE_MASK,
					PAGE_ALIGN(range->addr + range->length), &vm_flags);
		if (!(i % 1024) && fatal_signal_pending(current))
			error = -EINTR;
	}
	mmap_read_unlock(current->mm);
	return error;
}

/* Prepare */

/*
 * Whether pages may be others' as well: a forked child's or parent's, or KSM's. Only then it is
 * worth looking which of them pinning has to copy.
 */
static bool kz_may_be_shared(unsigned long start, unsigned long end)
{
	struct vm_area_struct *vma;
	VMA_ITERATOR(vmi, current->mm, start);

	for_each_vma_range(vmi, vma, end) {
		struct anon_vma *anon_vma = READ_ONCE(vma->anon_vma);

		if (vma->vm_flags & VM_MERGEABLE)
			return true;
		if (anon_vma && (anon_vma->root != anon_vma || anon_vma->num_children > 1))
			return true;
	}
	return false;
}

/* Which pages there are before pinning may replace some; NULL for those that hold no data. */
static long kz_note_pages(unsigned long start, long count, struct page **before)
{
	long got = kz_get_user_pages(start, count, FOLL_FORCE, before), i;

	for (i = 0; i < got; i++) {
		struct page *page = before[i];

		/* What isn't anonymous here is the page of zeros, or of the huge one. */
		if (!PageAnon(page))
			before[i] = NULL;
		put_page(page);
	}
	return got;
}

/*
 * Pins the span's whole pages as if to write to them: that reads them in from swap and breaks
 * copy-on-write, and from then on fork() copies them for the child, and reclaim, migration and KSM
 * leave them alone. So they stay the pages that the owner's page table maps, until that goes.
 * (Plain references don't do: with them a fork between here and then lost writes.) Mmap lock held.
 */
static int kz_pin(struct kz_call *call, struct kz_span *span)
{
	struct page **before = NULL;
	int error = 0;

	if (kz_may_be_shared(span->inner, span->inner_end)) {
		before = kmalloc_array(KZ_PIN_BATCH, sizeof(*before), GFP_KERNEL);
		if (!before)
			return -ENOMEM;
	}
	while (span->pinned < span->count) {
		unsigned long start = span->inner + (span->pinned << PAGE_SHIFT);
		long batch = min_t(long, span->count - span->pinned, KZ_PIN_BATCH);
		long got, i;

		error = kz_step_fails(call->steps) ? -ENOMEM : 0;
		if (fatal_signal_pending(current))
			error = -EINTR;
		if (error)
			break;
		if (before) {
			got = kz_note_pages(start, batch, before);
			if (got > 0)
				batch = got;
		}
		got = kz_pin_user_pages(start, batch, FOLL_WRITE | FOLL_FORCE,
					span->pages + span->pinned);
		if (got <= 0) {
			error = got ? got : -EFAULT;
			break;
		}
		for (i = 0; before && i < got; i++)
			span->broken += before[i] && before[i] != span->pages[span->pinned + i];
		span->pinned += got;
		cond_resched();
	}
	kfree(before);
	return error;
}

static void kz_unpin(struct kz_span *span)
{
	unpin_user_pages(span->pages, span->pinned);
	span->pinned = 0;
	span->broken = 0;
}

/* Whether the folio from @page on is in the span as a whole, and can be in the file as one. */
static bool kz_is_whole(const struct kz_span *span, unsigned long page)
{
	struct folio *folio = page_folio(span->pages[page]);
	unsigned long pages = folio_nr_pages(folio), i;

	if (page + pages > span->count || !IS_ALIGNED((span->inner >> PAGE_SHIFT) + page, pages))
		return false;
	for (i = 0; i < pages; i++)
		if (span->pages[page + i] != folio_page(folio, i))
			return false;
	return true;
}

/* Splits the huge pages that the span has only parts of. Return: whether it tried any. */
static bool kz_split_parts(struct kz_span *span)
{
	unsigned long i = 0, nr = 0;
	unsigned long *parts;
	bool large = false;

	if (!kz_symbols.split)
		return false;
	for (i = 0; i < span->count && !large; i++)
		large = PageTransCompound(span->pages[i]);
	if (!large)
		return false;
	/* One address of each; the pins must go before. They're found in the order of addresses. */
	parts = kvmalloc_array(span->count, sizeof(*parts), GFP_KERNEL_ACCOUNT);
	if (!parts)
		return false;
	for (i = 0; i < span->count;) {
		struct folio *folio = page_folio(span->pages[i]);

		if (!folio_test_large(folio)) {
			i++;
		} else if (kz_is_whole(span, i)) {
			i += folio_nr_pages(folio);
		} else {
			parts[nr++] = span->inner + (i << PAGE_SHIFT);
			while (++i < span->count && page_folio(span->pages[i]) == folio)
				;
		}
	}
	if (nr)
		kz_unpin(span);
	for (i = 0; i < nr; i++) {
		struct page *page;

		if (kz_get_user_pages(parts[i], 1, FOLL_WRITE | FOLL_FORCE, &page) != 1)
			continue;
		kz_split(page);
		put_page(page);
		cond_resched();
	}
	kvfree(parts);
	return nr;
}

/* Pins pages of which the huge ones are whole, as far as they can be split. */
static int kz_pin_whole(struct kz_call *call, struct kz_span *span)
{
	unsigned long vm_flags = 0;
	int error;

	if (mmap_read_lock_killable(current->mm))
		return -EINTR;
	/* Once more: it's long ago that all ranges were looked at. */
	error = kz_check_memory(span->first, span->first + (span->total << PAGE_SHIFT), &vm_flags);
	if (!error)
		error = kz_pin(call, span);
	if (!error && kz_split_parts(span))
		error = kz_pin(call, span);
	mmap_read_unlock(current->mm);
	span->view_flags = vm_flags & KZ_KEPT_VM_FLAGS;
	span->prot = (vm_flags & VM_READ ? PROT_READ : 0) | (vm_flags & VM_WRITE ? PROT_WRITE : 0) |
		     (vm_flags & VM_EXEC ? PROT_EXEC : 0);
	return error;
}

static int kz_copy_edge(struct kz_call *call, struct kz_span *span, struct kz_edge *edge,
			unsigned long start, unsigned long end)
{
	unsigned long left;

	edge->copy = kz_step_fails(call->steps) ? NULL :
		     alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!edge->copy)
		return -ENOMEM;
	edge->page = (start - span->first) >> PAGE_SHIFT;
	left = copy_from_user(page_address(edge->copy) + offset_in_page(start),
			      (void __user *)start, end - start);
	return left ? -EFAULT : 0;
}

static int kz_copy_edges(struct kz_call *call, struct kz_span *span)
{
	int error = 0;

	if (span->inner == span->inner_end) {
		/* No page of its own: the bytes lie in one page, or in two. */
		unsigned long middle = min(span->end, span->first + PAGE_SIZE);

		error = kz_copy_edge(call, span, &span->edges[0], span->start, middle);
		if (!error && middle < span->end)
			error = kz_copy_edge(call, span, &span->edges[1], middle, span->end);
		return error;
	}
	if (span->start < span->inner)
		error = kz_copy_edge(call, span, &span->edges[0], span->start, span->inner);
	if (!error && span->inner_end < span->end)
		error = kz_copy_edge(call, span, &span->edges[1], span->inner_end, span->end);
	return error;
}

/*
 * Where the range begins in the file: at its end, or so far behind it that huge pages lie in the
 * file as they do in memory.
 */
static pgoff_t kz_place(const struct kz_span *span, pgoff_t end)
{
	unsigned long align = 1, i = 0;

	while (i < span->count) {
		unsigned long pages = 1;

		if (PageTransCompound(span->pages[i]) && kz_is_whole(span, i)) {
			pages = folio_nr_pages(page_folio(span->pages[i]));
			align = max(align, pages);
		}
		i += pages;
	}
	return end + (((span->first >> PAGE_SHIFT) - end) & (align - 1));
}

/* Replace */

/* Whether the range still is what it was, after replacing it has failed. */
static bool kz_is_untouched(const struct kz_span *span)
{
	unsigned long vm_flags;
	bool untouched;

	mmap_read_lock(current->mm);
	untouched = !kz_check_memory(span->inner, span->inner_end, &vm_flags);
	mmap_read_unlock(current->mm);
	return untouched;
}

/*
 * Takes the pages out of the owner's page tables in one step. The kernel's mmap may unmap what was
 * there and then fail to map the file for lack of memory. The data isn't lost, the pins hold it:
 * it tries again, and in the worst case the pages are given up as if the caller had asked for it.
 *
 * Return: 0, or an errno; @gone tells whether the old mapping is.
 */
static long kz_replace(struct kz_call *call, struct kz_span *span, bool *gone)
{
	unsigned long length = span->inner_end - span->inner;
	unsigned long offset = (span->base << PAGE_SHIFT) + (span->inner - span->first);
	struct kz_file *kf = call->kf;
	unsigned long mapped;
	int tries = 0;
	long error;

	*gone = false;
	if (kz_step_fails(call->steps))
		return -ENOMEM;
	if (call->move->flags & KZ_MOVE_UNMAP) {
		error = vm_munmap(span->inner, length);
		*gone = !error;
		return error;
	}
	do {
		kf->view_flags = span->view_flags;
		WRITE_ONCE(kf->mover, current);
		mapped = vm_mmap(call->file, span->inner, length, span->prot,
				 MAP_PRIVATE | MAP_FIXED, offset);
		WRITE_ONCE(kf->mover, NULL);
		if (!IS_ERR_VALUE(mapped)) {
			*gone = true;
			return 0;
		}
		*gone = *gone || !kz_is_untouched(span);
	} while (*gone && ++tries < 8);
	return mapped;
}

/* Commit */

/* Brings the pages into the file. Return: 0, or -EIO if one got lost in copying. */
static int kz_commit(struct kz_call *call, struct kz_span *span)
{
	pgoff_t base = span->base + ((span->inner - span->first) >> PAGE_SHIFT);
	unsigned long i = 0, moved = 0, huge = 0, copied = 0, j;
	int error = 0;

	if (kz_symbols.drain_local)
		kz_symbols.drain_local();
	while (i < span->count) {
		struct folio *folio = page_folio(span->pages[i]);
		unsigned long pages = folio_nr_pages(folio);
		bool whole = kz_is_whole(span, i);

		if (whole && kz_steal(call->kf, folio, base + i, &call->drained)) {
			moved += pages;
			huge += pages > 1 ? pages : 0;
		} else {
			pages = whole ? pages : 1;
			for (j = 0; j < pages; j++)
				error = kz_copy(call->kf, span->pages[i + j], base + i + j) ?: error;
			copied += pages;
		}
		i += pages;
		cond_resched();
	}
	for (i = 0; i < ARRAY_SIZE(span->edges); i++) {
		struct kz_edge *edge = &span->edges[i];

		if (!edge->copy)
			continue;
		error = kz_copy(call->kf, edge->copy, span->base + edge->page) ?: error;
		copied++;
	}
	/* What copy-on-write copied doesn't count as moved, though the copy was. */
	span->broken = min(span->broken, moved);
	call->move->moved_pages += moved - span->broken;
	call->move->copied_pages += copied + span->broken;
	call->move->huge_pages += huge;
	return error;
}

static void kz_span_init(struct kz_span *span, const struct kz_range *range)
{
	span->start = range->addr;
	span->end = range->addr + range->length;
	span->first = span->start & PAGE_MASK;
	span->total = (PAGE_ALIGN(span->end) - span->first) >> PAGE_SHIFT;
	span->inner = PAGE_ALIGN(span->start);
	span->inner_end = max(span->end & PAGE_MASK, span->inner);
	span->count = (span->inner_end - span->inner) >> PAGE_SHIFT;
}

/*
 * Moves one range. Return: 0, or an errno; the range counts as done if move->done does, also with
 * an errno.
 */
static long kz_move_range(struct kz_call *call, struct kz_range *range)
{
	struct kz_span span = {};
	bool gone = true;
	long error;
	int lost;

	kz_span_init(&span, range);
	span.pages = kz_step_fails(call->steps) ? NULL :
		     kvmalloc_array(span.count, sizeof(*span.pages), GFP_KERNEL_ACCOUNT);
	if (!span.pages)
		return -ENOMEM;
	error = kz_copy_edges(call, &span);
	if (!error)
		error = kz_pin_whole(call, &span);
	if (error)
		goto release;
	span.base = kz_place(&span, call->kf->ready);
	error = kz_file_reserve(call->kf, span.base + span.total, call->steps);
	if (error)
		goto release;
	if (span.count)
		error = kz_replace(call, &span, &gone);
	if (!gone) {
		kz_file_cancel(call->kf);
		goto release;
	}
	lost = kz_commit(call, &span);
	kz_file_publish(call->kf);
	error = error ?: lost;
	range->offset = (span.base << PAGE_SHIFT) + (span.start - span.first);
	call->move->done++;
release:
	kz_unpin(&span);
	for (lost = 0; lost < ARRAY_SIZE(span.edges); lost++)
		if (span.edges[lost].copy)
			__free_page(span.edges[lost].copy);
	kvfree(span.pages);
	return error;
}

static long kz_move_ranges(struct kz_call *call, struct kz_range *ranges)
{
	struct kz_move *move = call->move;
	long error = 0;
	u32 i;

	if (mutex_lock_killable(&call->kf->append))
		return -EINTR;
	for (i = 0; i < move->nr_ranges && !error; i++) {
		if (fatal_signal_pending(current))
			error = -EINTR;
		else
			error = kz_move_range(call, ranges + i);
	}
	move->file_size = (u64)call->kf->ready << PAGE_SHIFT;
	mutex_unlock(&call->kf->append);
	return error;
}

/* Everything that can be found wrong before anything moves. */
static long kz_check(struct kz_call *call, struct kz_range *ranges, void __user *header,
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
	error = kz_check_overlaps(move, ranges, (unsigned long)header, header_size, call->steps);
	if (error)
		return error;
	/* The offsets must find their way out, too. */
	if (copy_to_user(u64_to_user_ptr(move->ranges), ranges,
			 array_size(move->nr_ranges, sizeof(*ranges))))
		return -EFAULT;
	return kz_check_all_memory(move, ranges);
}

/**
 * kz_move() - KZ_MOVE
 * @move: what the caller asks for, checked for nothing yet; gets the account
 * @header: where the caller's struct is, @header_size bytes
 * @header_size: of it
 * @steps: fault injection
 *
 * Return: 0 or an errno; the account is right in both cases.
 */
long kz_move(struct kz_move *move, void __user *header, size_t header_size, struct kz_steps *steps)
{
	void __user *user_ranges = u64_to_user_ptr(move->ranges);
	struct kz_call call = { .move = move, .steps = steps };
	struct kz_range *ranges;
	struct fd file;
	size_t bytes;
	long error;

	if (move->flags & ~(KZ_MOVE_UNMAP | KZ_MOVE_EDGES))
		return -EINVAL;
	if (move->nr_ranges > READ_ONCE(kz_max_ranges))
		return -E2BIG;
	file = fdget(move->fd);
	call.file = kz_fd_file(file);
	call.kf = call.file ? kz_file_of(call.file) : NULL;
	if (!call.kf) {
		error = -EBADF;
		goto put;
	}
	error = -EPERM;
	if (call.kf->mm != current->mm)
		goto put;
	bytes = array_size(move->nr_ranges, sizeof(*ranges));
	error = -ENOMEM;
	ranges = kz_step_fails(steps) ? NULL : kvmalloc(max_t(size_t, bytes, 1), GFP_KERNEL_ACCOUNT);
	if (!ranges)
		goto put;
	error = -EFAULT;
	if (!copy_from_user(ranges, user_ranges, bytes))
		error = kz_check(&call, ranges, header, header_size);
	if (!error) {
		error = kz_move_ranges(&call, ranges);
		if (copy_to_user(user_ranges, ranges, bytes) && !error)
			error = -EFAULT;
	}
	kvfree(ranges);
put:
	fdput(file);
	return error;
}
