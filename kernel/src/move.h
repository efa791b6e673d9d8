/* SPDX-License-Identifier: GPL-2.0 */
/* KZ_MOVE: what its steps tell each other. */
#ifndef KZ_MOVE_H
#define KZ_MOVE_H

#include "kernelzero.h"

/* A mapping's flags that the owner's view takes over from the memory that it replaces. */
#define KZ_KEPT_VM_FLAGS (VM_DONTCOPY | VM_DONTDUMP | VM_SEQ_READ | VM_RAND_READ | \
			  VM_HUGEPAGE | VM_NOHUGEPAGE)

/**
 * struct kz_call - one KZ_MOVE
 * @move: the caller's header, where what has been done is accounted for
 * @steps: fault injection
 * @file: to append to; @kf: its state
 * @view: what views map; NULL before the first one
 * @view_flags: that those views have, beyond their rights
 * @sorted: a copy of the ranges in the order of their addresses; they don't overlap
 * @left: pages that the file is to get yet, holes not among them
 * @piece_bytes: of a piece at most, whole huge pages
 * @pages: room for the pages of a piece, @whole: and for what is noted of them
 * @theft: how stealing goes
 * @listed: swapoff looks for entries in the file
 * @apart: ranges that touch don't share pieces, as some couldn't move together
 * @reads_in: swapped-out pages are read in before they move
 */
struct kz_call {
	struct kz_move *move;
	struct kz_steps *steps;
	struct file *file;
	struct kz_file *kf;
	struct file *view;
	unsigned long view_flags;
	struct kz_range *sorted;
	unsigned long left;
	unsigned long piece_bytes;
	struct page **pages;
	unsigned long *whole;
	struct kz_theft theft;
	bool listed, apart, reads_in;
};

/**
 * struct kz_memory - mappings that follow each other
 * @vm_flags: what they have in common of rights and of what a view takes over
 * @may_be_shared: some of their pages may be other processes' as well, or KSM's
 */
struct kz_memory {
	unsigned long vm_flags;
	bool may_be_shared;
};

/* What has become of the memory that a piece is to replace. */
enum kz_fate {
	KZ_INTACT,	/* it's there */
	KZ_CONFIRMED,	/* it's about to go, and is what was pinned */
	KZ_GONE,
};

/**
 * struct kz_edge - bytes that share their page with others'
 * @copy: a page of zeros but for the bytes; NULL if there are none
 * @page: which of the piece's pages they are in
 */
struct kz_edge {
	struct page *copy;
	unsigned long page;
};

/**
 * struct kz_piece - a piece of a range on its way
 * @start, @end: addresses; bytes
 * @inner, @inner_end: addresses of the whole pages among them, which move
 * @first: address of the first page, whole or not
 * @total: pages, edges among them
 * @pages: the whole ones, @count of them, of which @pinned are pinned; but those that are swapped
 *	out may move so: @entries of them are values as the file's xarray has them
 * @broken: how many of those are copies that pinning has made, as others have the page too
 * @memory: that is replaced
 * @has_large: among the pinned pages are some of large folios; then @whole has a bit for each page
 *	with which one begins that the piece has as a whole, and that can be in the file as one
 * @alone: nobody else used the address space when the pages were about to be pinned
 * @is_part: of a range that has more pieces
 * @is_joint: of several ranges
 * @tries: that have failed because others changed the memory
 * @fate: of the memory
 * @takeover: by the view
 * @base: the first page's index in the file
 * @edges: head and tail
 */
struct kz_piece {
	unsigned long start, end;
	unsigned long inner, inner_end;
	unsigned long first;
	unsigned long total;
	struct page **pages;
	unsigned long *whole;
	unsigned long count, pinned, broken, entries;
	struct kz_memory memory;
	bool has_large, alone, is_part, is_joint;
	int tries;
	enum kz_fate fate;
	struct kz_takeover takeover;
	pgoff_t base;
	struct kz_edge edges[2];
};

/* Of a piece whose pages other threads keep replacing, and of a view that finds no memory. */
#define KZ_MAX_TRIES 16

/* Of entries of swap: unlike pinned pages they are disturbed even by who only reads. */
#define KZ_MAX_ENTRY_TRIES 3

/* check.c */
long kz_check(struct kz_call *call, struct kz_range *ranges, void __user *header,
	      size_t header_size);
int kz_check_memory(unsigned long start, unsigned long end, struct kz_memory *memory);
unsigned long kz_whole_pages(const struct kz_call *call, unsigned long start, unsigned long end);

/* Whether a piece has an entry of swap instead of a page. */
static inline bool kz_is_entry(const struct kz_piece *piece, unsigned long page)
{
	return piece->entries && xa_is_value(piece->pages[page]);
}

/* Whether a page is a part of a large folio. */
static inline bool kz_has_large(const struct kz_piece *piece, unsigned long page)
{
	return !kz_is_entry(piece, page) && folio_test_large(page_folio(piece->pages[page]));
}

/* Whether a page, of a large folio, is the first of one that the piece has as a whole. */
static inline bool kz_is_whole(const struct kz_piece *piece, unsigned long page)
{
	return test_bit(page, piece->whole);
}

/* swap.c */
int kz_hold_entries(struct kz_call *call, struct kz_piece *piece);
unsigned long kz_count_entries(struct kz_piece *piece);
void kz_drop_entries(struct kz_piece *piece);
int kz_list_file(struct kz_call *call, pgoff_t index);
void kz_unlist_file(struct kz_call *call);
unsigned long kz_store_entries(struct kz_file *kf, struct page **entries, unsigned long count,
			       pgoff_t index);
int kz_copy_entry(struct kz_file *kf, struct page **entry, pgoff_t index);

/* commit.c */
int kz_commit(struct kz_call *call, struct kz_piece *piece);

/* pin.c */
int kz_explain(struct kz_piece *piece, int error);
int kz_pin_whole(struct kz_call *call, struct kz_piece *piece);
int kz_confirm(struct kz_piece *piece);
bool kz_is_untouched(struct kz_piece *piece);
void kz_unpin(struct kz_piece *piece);

/* replace.c */
long kz_replace(struct kz_call *call, struct kz_piece *piece);

#endif
