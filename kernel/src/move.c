// SPDX-License-Identifier: GPL-2.0
/*
 * KZ_MOVE: looks at everything that was asked for, and then range by range, and piece by piece
 *
 *	prepares	pins the pages, so that they stay where they are; copies edges; makes room
 *	replaces	the owner's mapping by one of the file, or by nothing
 *	commits		the pages, which are in no page table any more, into the file
 *
 * where ranges that touch each other share pieces. Until a piece's mapping is replaced it can be
 * given up and nothing has changed; from there on nothing fails. Only one piece's pages are held at
 * a time, so that a range may be larger than the memory that there is for it, fork() copies no more
 * than a piece, and who is killed ends soon.
 */
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "move.h"

/*
 * Copies bytes of one of the owner's pages. A fault on the way doesn't say why it failed, and it may
 * have been for lack of memory; so the page is then fetched by itself.
 */
static int kz_copy_bytes_of(struct kz_piece *piece, void *to, unsigned long start,
			    unsigned long end)
{
	int tries = 0;

	while (copy_from_user(to, (void __user *)start, end - start)) {
		struct page *page;
		int got = get_user_pages_fast(start, 1, 0, &page);

		if (got == 1)
			put_page(page);
		if (got < 0 || ++tries == KZ_MAX_TRIES)
			return kz_explain(piece, got < 0 ? got : -EFAULT);
	}
	return 0;
}

static int kz_copy_edge(struct kz_call *call, struct kz_piece *piece, struct kz_edge *edge,
			unsigned long start, unsigned long end)
{
	edge->copy = kz_inject_failure(call->steps) ? NULL :
		     alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!edge->copy)
		return -ENOMEM;
	edge->page = (start - piece->first) >> PAGE_SHIFT;
	return kz_copy_bytes_of(piece, page_address(edge->copy) + offset_in_page(start), start,
				end);
}

static int kz_copy_edges(struct kz_call *call, struct kz_piece *piece)
{
	int error = 0;

	if (piece->inner == piece->inner_end) {
		/* No page of its own: the bytes lie in one page, or in two. */
		unsigned long middle = min(piece->end, piece->first + PAGE_SIZE);

		error = kz_copy_edge(call, piece, &piece->edges[0], piece->start, middle);
		if (!error && middle < piece->end)
			error = kz_copy_edge(call, piece, &piece->edges[1], middle, piece->end);
		return error;
	}
	if (piece->start < piece->inner)
		error = kz_copy_edge(call, piece, &piece->edges[0], piece->start, piece->inner);
	if (!error && piece->inner_end < piece->end)
		error = kz_copy_edge(call, piece, &piece->edges[1], piece->inner_end, piece->end);
	return error;
}

/*
 * Where the piece begins in the file: at its end, or so far behind it that huge pages lie in the
 * file as they do in memory. The pieces of a range, all but the first of which begin where huge
 * pages may, follow each other without a gap.
 */
static pgoff_t kz_place(const struct kz_piece *piece, pgoff_t end)
{
	unsigned long align = piece->is_part ? HPAGE_PMD_NR : 1, i = 0;

	while (piece->has_large && i < piece->count) {
		unsigned long pages = 1;

		if (kz_has_large(piece, i) && kz_is_whole(piece, i)) {
			pages = folio_nr_pages(page_folio(piece->pages[i]));
			align = max(align, pages);
		}
		i += pages;
	}
	return end + (((piece->first >> PAGE_SHIFT) - end) & (align - 1));
}

/* Whether a range goes on right where the one before it ends, at a whole page. */
static bool kz_touches(const struct kz_range *range)
{
	return range->addr == range[-1].addr + range[-1].length && PAGE_ALIGNED(range->addr);
}

/*
 * Where the memory ends that can move as if it were one range with the next one of a call: that of
 * ranges that touch and have the same rights, as far as they begin before @most.
 */
static unsigned long kz_joint_end(const struct kz_call *call, const struct kz_range *range,
				  const struct kz_range *behind, unsigned long most)
{
	unsigned long end = range->addr + range->length;
	struct kz_memory memory, other;

	if (call->apart || range + 1 == behind || end >= most || !kz_touches(range + 1) ||
	    mmap_read_lock_killable(current->mm))
		return end;
	if (kz_check_memory(range->addr & PAGE_MASK, end, &memory))
		behind = range;
	while (++range < behind && end < most && kz_touches(range)) {
		if (kz_check_memory(end, PAGE_ALIGN(end + range->length), &other) ||
		    other.vm_flags != memory.vm_flags)
			break;
		end += range->length;
	}
	mmap_read_unlock(current->mm);
	return end;
}

/* What is next of the ranges. Pieces end where ranges do, or where huge pages do. */
static void kz_piece_init(struct kz_piece *piece, const struct kz_call *call,
			  const struct kz_range *ranges)
{
	const struct kz_range *range = ranges + call->move->done;
	unsigned long most, end;

	piece->pages = call->pages;
	piece->whole = call->whole;
	piece->start = range->addr + call->move->partial_bytes;
	most = ALIGN_DOWN(piece->start + call->piece_bytes, HPAGE_PMD_SIZE);
	end = kz_joint_end(call, range, ranges + call->move->nr_ranges, most);
	piece->end = min(end, most);
	piece->is_part = piece->start > range->addr || piece->end < end;
	piece->is_joint = piece->end > range->addr + range->length;
	piece->first = piece->start & PAGE_MASK;
	piece->total = (PAGE_ALIGN(piece->end) - piece->first) >> PAGE_SHIFT;
	piece->inner = PAGE_ALIGN(piece->start);
	piece->inner_end = max(piece->end & PAGE_MASK, piece->inner);
	piece->count = (piece->inner_end - piece->inner) >> PAGE_SHIFT;
}

/* Accounts for a piece that is done, which may have some ranges and the beginning of another. */
static void kz_account(struct kz_call *call, struct kz_range *ranges, const struct kz_piece *piece)
{
	struct kz_move *move = call->move;
	unsigned long at = piece->start;

	call->left -= piece->total;
	while (at < piece->end) {
		struct kz_range *range = ranges + move->done;
		u64 bytes = min_t(u64, piece->end - at, range->length - move->partial_bytes);

		if (!move->partial_bytes)
			range->offset = (piece->base << PAGE_SHIFT) + (at - piece->first);
		move->partial_bytes += bytes;
		at += bytes;
		if (move->partial_bytes == range->length) {
			move->partial_bytes = 0;
			move->done++;
		}
	}
}

/*
 * Return: as kz_move_piece(); or -EAGAIN if the pages changed meanwhile, or -EFAULT if they couldn't
 * be had; then nothing has moved.
 */
static long kz_move_pages(struct kz_call *call, struct kz_piece *piece, struct kz_range *ranges)
{
	unsigned long more;
	long error;
	int lost;

	error = kz_pin_whole(call, piece);
	if (error)
		goto unpin;
	piece->base = kz_place(piece, kz_file_end(call->kf));
	more = min(call->left - piece->total, call->piece_bytes >> PAGE_SHIFT);
	error = kz_file_reserve(call->kf, piece->base + piece->total, more, call->steps);
	if (error)
		goto unpin;
	if (piece->entries)
		error = kz_list_file(call, piece->base);
	if (piece->count && !error)
		error = kz_replace(call, piece);
	if (piece->count && piece->fate != KZ_GONE) {
		kz_file_cancel(call->kf);
		goto unpin;
	}
	lost = kz_commit(call, piece);
	kz_file_publish(call->kf);
	error = error ?: lost;
	kz_account(call, ranges, piece);
unpin:
	kz_file_guard(call->kf, NULL, 0);
	kz_unpin(piece);
	return error;
}

/*
 * Moves the next piece. Return: 0, or an errno; the piece counts as done if the account says so,
 * also with an errno. If several ranges can't move together nothing has moved, and each is to be
 * tried by itself.
 */
static long kz_move_piece(struct kz_call *call, struct kz_range *ranges)
{
	struct kz_piece piece = {};
	u32 done = call->move->done;
	long error;
	int i;

	kz_piece_init(&piece, call, ranges);
	error = kz_copy_edges(call, &piece);
	if (!error) {
		/* What can't be read may just be unmapped, and mapped anew when one looks why. */
		do {
			error = kz_move_pages(call, &piece, ranges);
		} while ((error == -EAGAIN || error == -EFAULT) && ++piece.tries < KZ_MAX_TRIES);
		kz_count(KZ_RETRIES, piece.tries);
	}
	for (i = 0; i < ARRAY_SIZE(piece.edges); i++)
		if (piece.edges[i].copy)
			__free_page(piece.edges[i].copy);
	if (error && piece.is_joint && call->move->done == done) {
		call->apart = true;
		return 0;
	}
	return error;
}

/* Makes room for the pages of the largest piece. */
static int kz_alloc_pages(struct kz_call *call, const struct kz_range *ranges)
{
	u64 piece = (u64)READ_ONCE(kz_piece_pages) << PAGE_SHIFT, joint = 0, most = 0;
	u32 i;

	call->piece_bytes = clamp_t(u64, piece, HPAGE_PMD_SIZE, SZ_1G) & HPAGE_PMD_MASK;
	for (i = 0; i < call->move->nr_ranges; i++) {
		joint = i && kz_touches(ranges + i) ? joint + ranges[i].length : ranges[i].length;
		most = max(most, joint);
	}
	most = min_t(u64, most, call->piece_bytes) >> PAGE_SHIFT;
	call->pages = kz_inject_failure(call->steps) ? NULL :
		      kvmalloc(most * sizeof(*call->pages) + BITS_TO_LONGS(most) * sizeof(long),
			       GFP_KERNEL_ACCOUNT);
	if (!call->pages)
		return -ENOMEM;
	call->whole = (unsigned long *)(call->pages + most);
	return 0;
}

static long kz_move_ranges(struct kz_call *call, struct kz_range *ranges)
{
	struct kz_move *move = call->move;
	long error = kz_alloc_pages(call, ranges);

	if (error)
		return error;
	if (mutex_lock_killable(&call->kf->append)) {
		error = -EINTR;
		goto free;
	}
	while (!error && move->done < move->nr_ranges)
		error = fatal_signal_pending(current) ? -EINTR : kz_move_piece(call, ranges);
	kz_unlist_file(call);
	kz_file_settle(call->kf);
	move->file_size = (u64)call->kf->ready << PAGE_SHIFT;
	mutex_unlock(&call->kf->append);
	if (call->view)
		fput(call->view);
free:
	kvfree(call->pages);
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

	if (move->flags & ~(KZ_MOVE_UNMAP | KZ_MOVE_EDGES | KZ_MOVE_DISCARD))
		return -EINVAL;
	if ((move->flags & KZ_MOVE_UNMAP) && (move->flags & KZ_MOVE_DISCARD))
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
	if (call.kf->owner != kz_address_space())
		goto put;
	bytes = array_size(move->nr_ranges, sizeof(*ranges));
	error = -ENOMEM;
	ranges = kz_inject_failure(steps) ? NULL : kvmalloc(bytes, GFP_KERNEL_ACCOUNT);
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
	kvfree(call.sorted);
	kvfree(ranges);
put:
	fdput(file);
	return error;
}
