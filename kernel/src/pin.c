// SPDX-License-Identifier: GPL-2.0
/*
 * Pins the pages of a piece, so that they stay where they are, and splits huge pages of which it
 * has only a part, but a large one. Until they are unpinned the kernel puts no others in their place
 * by itself. What other threads of the owner put there is found out by kz_confirm(), the last step
 * before the page table's entries go.
 */
#include <linux/delay.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "compat.h"
#include "move.h"

#define KZ_PIN_BATCH 512
#define KZ_CONFIRM_BATCH 32

/* How often a piece waits for 50 us: a quarter of what copying a huge page takes. */
#define KZ_MAX_WAITS 10

/* Whether this is the address space's only thread, and nobody else looks into it right now. */
static bool kz_is_alone(void)
{
	return atomic_read(&current->mm->mm_users) == 1;
}

/* Which pages there are before pinning may replace some; NULL for those that hold no data. */
static long kz_note_pages(unsigned long start, long count, struct page **before)
{
	long got, i;

	if (mmap_read_lock_killable(current->mm))
		return -EINTR;
	got = kz_get_user_pages(start, count, FOLL_FORCE, before);
	mmap_read_unlock(current->mm);
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
 * Looks at the piece's mappings once more: it's long ago that all ranges were looked at, and since
 * then other threads may have changed them. What the view takes over is what the pages have that
 * it replaces, without the edges.
 */
static int kz_note_mapping(struct kz_piece *piece)
{
	int error;

	if (mmap_read_lock_killable(current->mm))
		return -EINTR;
	error = kz_check_memory(piece->first, piece->first + (piece->total << PAGE_SHIFT),
				&piece->memory);
	if (!error && piece->count && piece->count < piece->total)
		error = kz_check_memory(piece->inner, piece->inner_end, &piece->memory);
	piece->alone = kz_is_alone();
	mmap_read_unlock(current->mm);
	return error;
}

/* How many pages from one on, of a batch at most, are to be pinned: up to the next entry. */
static long kz_pages_ahead(const struct kz_piece *piece, unsigned long page)
{
	long most = min_t(long, piece->count - page, KZ_PIN_BATCH), ahead = 0;

	if (!piece->entries)
		return most;
	while (ahead < most && !kz_is_entry(piece, page + ahead))
		ahead++;
	return ahead;
}

/*
 * Pins the piece's whole pages as if to write to them: that reads them in from swap and breaks
 * copy-on-write, and from then on fork() copies them for the child, and reclaim, migration and KSM
 * leave them alone. So they stay the pages that the owner's page table maps, until that goes.
 * (Plain references don't do: with them a fork between here and then lost writes.)
 *
 * Without the mmap lock, as most pages can be pinned without it, several times as quickly. What
 * other threads put there meanwhile is found out by kz_confirm(), which has to look anyway.
 */
static int kz_pin(struct kz_call *call, struct kz_piece *piece)
{
	struct page **before = NULL;
	int error = kz_hold_entries(call, piece);

	if (error)
		return error;
	if (piece->memory.may_be_shared) {
		before = kmalloc_array(KZ_PIN_BATCH, sizeof(*before), GFP_KERNEL);
		if (!before)
			return -ENOMEM;
	}
	while (piece->pinned < piece->count) {
		unsigned long start = piece->inner + (piece->pinned << PAGE_SHIFT);
		long batch = kz_pages_ahead(piece, piece->pinned);
		long got, i;

		if (!batch) {
			piece->pinned++;
			continue;
		}
		error = kz_inject_failure(call->steps) ? -ENOMEM : 0;
		if (fatal_signal_pending(current))
			error = -EINTR;
		if (error)
			break;
		if (before) {
			got = kz_note_pages(start, batch, before);
			if (got <= 0) {
				error = got ? got : -EFAULT;
				break;
			}
			batch = got;
		}
		got = pin_user_pages_fast(start, batch, FOLL_WRITE | FOLL_FORCE,
					  piece->pages + piece->pinned);
		if (got <= 0) {
			error = got ? got : -EFAULT;
			break;
		}
		for (i = 0; before && i < got; i++)
			piece->broken += before[i] && before[i] != piece->pages[piece->pinned + i];
		piece->pinned += got;
		cond_resched();
	}
	kfree(before);
	return error;
}

/*
 * Lets go of the pages, as far as that hasn't been done yet; those that went into the file are its
 * own then.
 */
void kz_unpin(struct kz_piece *piece)
{
	unsigned long i = 0, left = 0;

	kz_drop_entries(piece);
	while (i < piece->pinned) {
		struct page *page = piece->pages[i];

		if (page && piece->has_large && kz_is_whole(piece, i)) {
			unsigned long pages = folio_nr_pages(page_folio(page));

			unpin_user_page_range_dirty_lock(page, pages, false);
			i += pages;
			continue;
		}
		if (page)
			piece->pages[left++] = page;
		i++;
	}
	unpin_user_pages(piece->pages, left);
	piece->pinned = 0;
	piece->has_large = false;
}

/* Whether the piece has the whole large folio from @page on, and the file can have it as one. */
static bool kz_has_all_of(const struct kz_piece *piece, unsigned long page)
{
	struct folio *folio = page_folio(piece->pages[page]);
	unsigned long pages = folio_nr_pages(folio), i;

	if (page + pages > piece->count || !IS_ALIGNED((piece->inner >> PAGE_SHIFT) + page, pages))
		return false;
	for (i = 0; i < pages; i++)
		if (piece->pages[page + i] != folio_page(folio, i))
			return false;
	return true;
}

/* Looks for large folios, and which of them the piece has whole, so that nobody has to again. */
static void kz_note_large(struct kz_piece *piece)
{
	unsigned long page = 0;

	while (page < piece->count) {
		if (!kz_has_large(piece, page)) {
			page++;
			continue;
		}
		if (!piece->has_large)
			bitmap_zero(piece->whole, piece->count);
		piece->has_large = true;
		if (kz_has_all_of(piece, page)) {
			__set_bit(page, piece->whole);
			page += folio_nr_pages(page_folio(piece->pages[page]));
		} else {
			page++;
		}
	}
}

/*
 * Whether the large folio that a page is of had better be split than copied in part: if all ranges
 * of the call together have 7/16 of it, what copying costs (decision 6 has the figures).
 */
static bool kz_is_worth_splitting(const struct kz_call *call, const struct kz_piece *piece,
				  unsigned long page)
{
	struct folio *folio = page_folio(piece->pages[page]);
	unsigned long pages = folio_nr_pages(folio);
	unsigned long before = folio_page_idx(folio, piece->pages[page]);
	unsigned long start = piece->inner + (page << PAGE_SHIFT) - (before << PAGE_SHIFT);

	return kz_whole_pages(call, start, start + (pages << PAGE_SHIFT)) >= pages * 7 / 16;
}

/* Splits the huge pages that the piece has only parts of, if large ones; whether it tried any. */
static bool kz_split_parts(const struct kz_call *call, struct kz_piece *piece)
{
	unsigned long i = 0, nr = 0;
	unsigned long *parts;

	if (!piece->has_large || !kz_can_split())
		return false;
	/* One address of each; the pins must go before. They're found in the order of addresses. */
	parts = kvmalloc_array(piece->count, sizeof(*parts), GFP_KERNEL_ACCOUNT);
	if (!parts)
		return false;
	for (i = 0; i < piece->count;) {
		struct folio *folio;

		if (!kz_has_large(piece, i)) {
			i++;
			continue;
		}
		folio = page_folio(piece->pages[i]);
		if (kz_is_whole(piece, i)) {
			i += folio_nr_pages(folio);
			continue;
		}
		if (kz_is_worth_splitting(call, piece, i))
			parts[nr++] = piece->inner + (i << PAGE_SHIFT);
		while (++i < piece->count && kz_has_large(piece, i) &&
		       page_folio(piece->pages[i]) == folio)
			;
	}
	if (nr)
		kz_unpin(piece);
	for (i = 0; i < nr; i++) {
		struct page *page;

		if (get_user_pages_fast(parts[i], 1, FOLL_WRITE | FOLL_FORCE, &page) != 1)
			continue;
		kz_split(page);
		put_page(page);
		cond_resched();
	}
	kvfree(parts);
	return nr;
}

/*
 * Whether somebody has a reference of a large folio that the piece has as a whole, beside its page
 * table, swap and the pins. As nobody else maps the folio it's mapped at once, or page by page.
 */
static bool kz_is_held(struct folio *folio)
{
	long pages = folio_nr_pages(folio);
	long known = pages + (folio_entire_mapcount(folio) ? 1 : pages) +
		     (folio_test_swapcache(folio) ? pages : 0);

	return folio_ref_count(folio) > known;
}

/*
 * Gives those who hold a large folio for a moment the time to let go of it, as else all of it would
 * have to be copied: the kernel itself, in batches for its LRU lists or to look at it, or who just
 * reads from it or writes to it in the name of another process.
 */
static void kz_await_release(struct kz_call *call, const struct kz_piece *piece)
{
	unsigned long page = 0;
	int waits = 0;

	while (page < piece->count) {
		struct folio *folio;

		if (!kz_has_large(piece, page) || !kz_is_whole(piece, page)) {
			page++;
			continue;
		}
		folio = page_folio(piece->pages[page]);
		page += folio_nr_pages(folio);
		if (kz_is_held(folio))
			kz_drain_once(&call->theft);
		while (kz_is_held(folio) && waits++ < KZ_MAX_WAITS)
			usleep_range(50, 100);
	}
}

/**
 * kz_explain() - what an error in getting at a piece's memory comes from
 * @piece: of the memory
 * @error: 0 or an errno
 *
 * Return: what is wrong with the mapping if somebody has unmapped it since it was looked at, or put
 * there what can't move; else @error.
 */
int kz_explain(struct kz_piece *piece, int error)
{
	return error == -EFAULT ? kz_note_mapping(piece) ?: error : error;
}

/**
 * kz_pin_whole() - pins a piece's pages, of which the huge ones are whole, as far as they can split
 * @call: of the piece
 * @piece: gets pages, and what is known of their mapping
 *
 * Return: 0, or an errno; the pages that were pinned are the caller's to let go of in both cases.
 */
int kz_pin_whole(struct kz_call *call, struct kz_piece *piece)
{
	int error = kz_note_mapping(piece);

	if (!error)
		error = kz_pin(call, piece);
	if (!error)
		kz_note_large(piece);
	if (!error && kz_split_parts(call, piece)) {
		error = kz_pin(call, piece);
		if (!error)
			kz_note_large(piece);
	}
	if (!error && piece->has_large)
		kz_await_release(call, piece);
	return kz_explain(piece, error);
}

/* As put_page() for each, but once for those that follow each other in one folio. */
static void kz_put_pages(struct page **pages, long count)
{
	long i, same;

	for (i = 0; i < count; i += same) {
		struct folio *folio = page_folio(pages[i]);

		for (same = 1; i + same < count; same++)
			if (page_folio(pages[i + same]) != folio)
				break;
		folio_put_refs(folio, same);
	}
}

/* How many pages from one on are those that are pinned; at least one is looked at. */
static long kz_still_mapped(const struct kz_piece *piece, unsigned long page)
{
	unsigned long start = piece->inner + (page << PAGE_SHIFT);
	struct page *found[KZ_CONFIRM_BATCH];
	long count = min_t(long, piece->count - page, KZ_CONFIRM_BATCH), got, same = 0, i;

	/* What this doesn't find may be in somebody's hands just now: then with the lock. */
	got = get_user_pages_fast_only(start, count, 0, found);
	if (got <= 0)
		got = kz_get_user_pages(start, 1, FOLL_FORCE, found);
	for (i = 0; i < got; i++)
		same += same == i && found[i] == piece->pages[page + i];
	kz_put_pages(found, got);
	return same;
}

/* Keeps out those who change pages with no more than the lock of their VMA, as faults do. */
static void kz_lock_mappings(const struct kz_piece *piece)
{
	struct vm_area_struct *vma;

	kz_for_each_mapping(vma, current->mm, piece->inner, piece->inner_end)
		kz_vma_start_write(vma);
}

/**
 * kz_confirm() - looks whether a piece is still what it was when its pages were pinned
 * @piece: whose mapping is about to go; the mmap lock is held for writing
 *
 * Since then other threads may have changed its rights, or have discarded or moved its pages; then
 * those that are pinned aren't the ones that have been written to. Where there are no other threads
 * nothing can have changed, and the pages aren't looked at: whoever reaches into another process's
 * memory can't replace pages that are pinned. Entries are always looked at: who looks from outside,
 * or takes the swap device away, reads them in.
 *
 * Return: 0, -EAGAIN if it isn't, -ENOMEM, -EOPNOTSUPP, or -EINTR.
 */
int kz_confirm(struct kz_piece *piece)
{
	unsigned long page = 0;
	struct kz_memory memory;
	int error = kz_check_memory(piece->inner, piece->inner_end, &memory);

	if (error)
		return error;
	if (memory.vm_flags != piece->memory.vm_flags)
		return -EAGAIN;
	if (piece->alone && kz_is_alone() && !piece->entries)
		return 0;
	kz_lock_mappings(piece);
	if (kz_count_entries(piece) != piece->entries)
		return -EAGAIN;
	while (page < piece->count) {
		long same = kz_is_entry(piece, page) ? 1 : kz_still_mapped(piece, page);

		if (!same)
			return -EAGAIN;
		if (fatal_signal_pending(current))
			return -EINTR;
		page += same;
		cond_resched();
	}
	return 0;
}

/**
 * kz_is_untouched() - looks whether the owner still has pages of a piece
 * @piece: replacing whose mapping has failed
 *
 * Not their mapcounts: parts of huge pages may be mapped elsewhere.
 */
bool kz_is_untouched(struct kz_piece *piece)
{
	unsigned long page;
	bool untouched;

	mmap_read_lock(current->mm);
	untouched = kz_count_entries(piece);
	for (page = 0; page < piece->count && !untouched; page++) {
		untouched = !kz_is_entry(piece, page) && kz_still_mapped(piece, page);
		cond_resched();
	}
	mmap_read_unlock(current->mm);
	return untouched;
}
