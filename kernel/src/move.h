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
 * @vm_flags: of the mapping that is replaced, as far as its view takes them over
 * @may_be_shared: some pages may be other processes' as well, or KSM's
 * @confirmed: the mapping was as expected when it was about to be replaced
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
	unsigned long vm_flags;
	bool may_be_shared, confirmed;
	pgoff_t base;
	struct kz_edge edges[2];
};

/* check.c */
long kz_check(struct kz_call *call, struct kz_range *ranges, void __user *header,
	      size_t header_size);
int kz_check_memory(unsigned long start, unsigned long end, unsigned long *vm_flags);

/* pin.c */
int kz_pin_whole(struct kz_call *call, struct kz_span *span);
int kz_confirm(struct kz_span *span);
bool kz_is_untouched(const struct kz_span *span);
bool kz_is_whole(const struct kz_span *span, unsigned long page);
void kz_unpin(struct kz_span *span);

#endif
