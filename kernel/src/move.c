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
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "move.h"

/* Of a range whose pages other threads keep replacing, and of a view that finds no memory. */
#define KZ_MAX_TRIES 16

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

/*
 * What the view maps. If the kernel makes one mapping of two views that lie side by side, then with
 * the flags of the first; but only if both map the same struct file.
 */
static struct file *kz_view_file(struct kz_call *call, const struct kz_span *span)
{
	if (!(span->vm_flags & KZ_KEPT_VM_FLAGS))
		return get_file(call->file);
	if (kz_step_fails(call->steps))
		return ERR_PTR(-ENOMEM);
	return dentry_open(&call->file->f_path, O_RDONLY | O_LARGEFILE, current_cred());
}

/* Puts the view in the memory's place; if @again, where there is nothing any more. */
static unsigned long kz_map_view(struct kz_call *call, struct kz_span *span, struct file *file,
				 bool again)
{
	unsigned long offset = (span->base << PAGE_SHIFT) + (span->inner - span->first);
	unsigned long prot = (span->vm_flags & VM_READ ? PROT_READ : 0) |
			     (span->vm_flags & VM_WRITE ? PROT_WRITE : 0) |
			     (span->vm_flags & VM_EXEC ? PROT_EXEC : 0);
	struct kz_file *kf = call->kf;
	unsigned long mapped;

	span->confirmed = false;
	kf->replaced = span;
	WRITE_ONCE(kf->mover, current);
	mapped = vm_mmap(file, span->inner, span->inner_end - span->inner, prot,
			 MAP_PRIVATE | (again ? MAP_FIXED_NOREPLACE : MAP_FIXED), offset);
	WRITE_ONCE(kf->mover, NULL);
	if (IS_ERR_VALUE(mapped))
		kz_file_open_gate(kf);
	return mapped;
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
	unsigned long mapped;
	struct file *file;
	int tries = 0;
	long error;

	*gone = false;
	if (kz_step_fails(call->steps))
		return -ENOMEM;
	if (call->move->flags & KZ_MOVE_UNMAP) {
		error = vm_munmap(span->inner, span->inner_end - span->inner);
		*gone = !error;
		if (*gone)
			kz_file_close_gate(call->kf);
		return error;
	}
	file = kz_view_file(call, span);
	if (IS_ERR(file))
		return PTR_ERR(file);
	do {
		mapped = kz_map_view(call, span, file, *gone);
		error = IS_ERR_VALUE(mapped) ? (long)mapped : 0;
		/* Without confirmation it is somebody else that has taken it away. */
		*gone = *gone || !error || (span->confirmed && !kz_is_untouched(span));
	} while (error && *gone && ++tries < KZ_MAX_TRIES);
	fput(file);
	return error && *gone ? -ENOMEM : error;
}

/* Commit */

/*
 * How many pages from one on, which goes to @index, may go into the file together: those of a huge
 * page, 0 if it isn't whole, or small ones that share a node of the file's xarray.
 */
static unsigned long kz_run(const struct kz_span *span, unsigned long page, pgoff_t index)
{
	unsigned long most = min(span->count - page, KZ_RUN - index % KZ_RUN), run = 0;

	if (PageTransCompound(span->pages[page]))
		return kz_is_whole(span, page) ? folio_nr_pages(page_folio(span->pages[page])) : 0;
	while (run < most && !PageTransCompound(span->pages[page + run]))
		run++;
	return run;
}

/* Brings the pages into the file. Return: 0, or -EIO if one got lost in copying. */
static int kz_commit(struct kz_call *call, struct kz_span *span)
{
	pgoff_t base = span->base + ((span->inner - span->first) >> PAGE_SHIFT);
	unsigned long i = 0, moved = 0, huge = 0, copied = 0;
	int error = 0;

	if (kz_symbols.drain_local)
		kz_symbols.drain_local();
	while (i < span->count) {
		unsigned long run = kz_run(span, i, base + i), stolen = 0;
		bool large = PageTransCompound(span->pages[i]);

		if (run)
			stolen = kz_steal(call->kf, span->pages + i, run, base + i, &call->drained);
		moved += stolen;
		huge += large ? stolen : 0;
		i += stolen;
		if (!stolen) {
			error = kz_copy(call->kf, span->pages[i], base + i) ?: error;
			copied++;
			i++;
		}
		cond_resched();
	}
	kz_shmem_add_pages(call->kf->inode, moved);
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

/* Return: as kz_move_range(), or -EAGAIN if the pages changed meanwhile; then nothing has moved. */
static long kz_move_pages(struct kz_call *call, struct kz_span *span, struct kz_range *range)
{
	bool gone = true;
	long error;
	int lost;

	error = kz_pin_whole(call, span);
	if (error)
		goto unpin;
	span->base = kz_place(span, kz_file_end(call->kf));
	error = kz_file_reserve(call->kf, span->base + span->total, call->steps);
	if (error)
		goto unpin;
	if (span->count)
		error = kz_replace(call, span, &gone);
	if (!gone) {
		kz_file_cancel(call->kf);
		goto unpin;
	}
	lost = kz_commit(call, span);
	kz_file_publish(call->kf);
	error = error ?: lost;
	range->offset = (span->base << PAGE_SHIFT) + (span->start - span->first);
	call->move->done++;
unpin:
	kz_file_guard(call->kf, NULL, 0);
	kz_unpin(span);
	return error;
}

/*
 * Moves one range. Return: 0, or an errno; the range counts as done if move->done does, also with
 * an errno.
 */
static long kz_move_range(struct kz_call *call, struct kz_range *range)
{
	struct kz_span span = {};
	int tries = 0, i;
	long error;

	kz_span_init(&span, range);
	span.pages = kz_step_fails(call->steps) ? NULL :
		     kvmalloc_array(span.count, sizeof(*span.pages), GFP_KERNEL_ACCOUNT);
	if (!span.pages)
		return -ENOMEM;
	error = kz_copy_edges(call, &span);
	if (!error) {
		do {
			error = kz_move_pages(call, &span, range);
		} while (error == -EAGAIN && ++tries < KZ_MAX_TRIES);
	}
	for (i = 0; i < ARRAY_SIZE(span.edges); i++)
		if (span.edges[i].copy)
			__free_page(span.edges[i].copy);
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
	ranges = kz_step_fails(steps) ? NULL : kvmalloc(bytes, GFP_KERNEL_ACCOUNT);
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
