// SPDX-License-Identifier: GPL-2.0
/*
 * Folios of anonymous memory become a file's, or their bytes do. Nothing here may fail for lack
 * of memory: the owner's page tables don't hold the pages any more, so there is no way back.
 */
#include <linux/delay.h>
#include <linux/highmem.h>
#include <linux/ksm.h>
#include <linux/page_ref.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/shmem_fs.h>
#include <linux/swap.h>
#include <linux/xarray.h>

#include "compat.h"
#include "kernelzero.h"

/* References that the mover's own pins hold, one pin for each page of the folio. */
static int kz_pin_references(struct folio *folio)
{
	return folio_test_large(folio) ? folio_nr_pages(folio) : GUP_PIN_COUNTING_BIAS;
}

/* Whether a folio is anonymous memory like any other. */
static bool kz_is_plain(struct folio *folio)
{
	return folio_test_anon(folio) && !folio_test_ksm(folio) && !folio_is_zone_device(folio) &&
	       !(folio_test_large(folio) && folio_test_hugetlb(folio)) &&
	       folio_test_swapbacked(folio) && folio_test_uptodate(folio) &&
	       !folio_test_mlocked(folio);
}

/* Frees what a folio has in swap, unless that may be in another process's page table. */
static bool kz_leave_swap(struct folio *folio)
{
	bool left;

	if (!folio_test_swapcache(folio))
		return true;
	folio_lock(folio);
	folio_wait_writeback(folio);
	left = !folio_test_swapcache(folio) || kz_free_swap(folio);
	folio_unlock(folio);
	return left;
}

/**
 * struct kz_run - folios that go into the file together, and count alike
 * @pages: theirs: one large folio's, or small ones'. NULL takes the place of those whose pins go
 * @count: of the folios
 * @memcg, @nid: which memory cgroup they are charged to, and which node they lie in
 * @held: whether there's a page close by whose pin or reference stays
 */
struct kz_run {
	struct page **pages;
	unsigned long count;
	struct mem_cgroup *memcg;
	int nid;
	bool held;
};

/*
 * Stores a folio where @xas is, if nobody but the mover holds a reference: another's might be a
 * pipe's or a device's that writes to the page, when the file must not change any more. Page tables,
 * swap, and whoever holds the folio's lock or has it under writeback have references, too; so with
 * them frozen the folio is in nobody's hands but ours, and nobody can find it while it changes
 * sides. The xarray is locked, and nothing is where the folio is to go.
 *
 * Return: whether it did. If not, the error is in @xas: -EBUSY if there are other references,
 * -EINVAL if it's no memory like any other, -ENOMEM if the xarray needs a node; or there is none, as
 * the folio isn't charged as the run is, or lies in another node.
 */
static bool kz_store(struct xa_state *xas, struct address_space *mapping, struct folio *folio,
		     const struct kz_run *run, bool keep_pins)
{
	long pages = folio_nr_pages(folio), i;
	int held = kz_pin_references(folio);

	if (!folio_ref_freeze(folio, held)) {
		xas_set_err(xas, -EBUSY);
		return false;
	}
	if (folio_memcg(folio) != run->memcg || folio_nid(folio) != run->nid)
		goto unfreeze;
	if (kz_is_plain(folio))
		xas_store(xas, folio);
	else
		xas_set_err(xas, -EINVAL);
	if (xas_error(xas))
		goto unfreeze;
	for (i = 0; i < pages; i++)
		if (PageAnonExclusive(folio_page(folio, i)))
			ClearPageAnonExclusive(folio_page(folio, i));
	if (pages > 1)
		kz_count_not_anonymous(folio);
	folio->mapping = mapping;
	folio->index = xas->xa_index;
	folio_set_dirty(folio); /* reclaim would drop a clean page */
	folio_ref_unfreeze(folio, pages + (keep_pins ? held : 0));
	return true;
unfreeze:
	folio_ref_unfreeze(folio, held);
	return false;
}

/* How many of the next pages of a file, of @count, aren't there yet. The xarray is locked. */
static unsigned long kz_room(struct address_space *mapping, pgoff_t index, unsigned long count)
{
	XA_STATE(xas, &mapping->i_pages, index);

	return xas_find(&xas, index + count - 1) ? xas.xa_index - index : count;
}

/*
 * Stores the next folios of a run, from @done on, as far as nothing is in the way, and accounts for
 * them. Once they are stored they stay only as long as the xarray is locked, which it is.
 */
static unsigned long kz_store_next(struct xa_state *xas, struct address_space *mapping,
				   struct kz_run *run, unsigned long done)
{
	struct folio *folio, *last = NULL;
	unsigned long stored = 0, unpinned = 0;

	while (done + stored < run->count) {
		struct page **page = run->pages + done + stored;
		bool keep;

		folio = page_folio(*page);
		/* A large folio's pins are let go of together, later. */
		keep = !run->held || folio_test_large(folio);
		if (!kz_store(xas, mapping, folio, run, keep))
			break;
		if (!keep) {
			*page = NULL;
			unpinned++;
		}
		run->held = true;
		last = folio;
		stored++;
		xas_next(xas);
	}
	if (last) {
		long pages = stored * folio_nr_pages(last);

		mapping->nrpages += pages;
		/* The memory cgroup's charge stays as it is; what it counts it as doesn't. */
		__lruvec_stat_mod_folio(last, NR_FILE_PAGES, pages);
		__lruvec_stat_mod_folio(last, NR_SHMEM, pages);
		if (folio_test_pmd_mappable(last))
			__lruvec_stat_mod_folio(last, NR_SHMEM_THPS, pages);
		__mod_node_page_state(folio_pgdat(last), NR_FOLL_PIN_RELEASED, unpinned);
	}
	return stored;
}

/*
 * Stores the folios of a run one behind the other, as far as nothing is in the way.
 *
 * Return: how many; else 0, and in @error why not the first one: as kz_store(), or -EEXIST.
 */
static unsigned long kz_store_run(struct kz_file *kf, struct kz_run *run, pgoff_t index,
				  unsigned int order, int *error)
{
	struct address_space *mapping = kf->inode->i_mapping;
	XA_STATE_ORDER(xas, &mapping->i_pages, index, order);
	unsigned long stored = 0, most = run->count;

	do {
		xas_lock_irq(&xas);
		run->count = stored + (kz_room(mapping, index + stored, (most - stored) << order) >>
				       order);
		if (run->count == stored)
			xas_set_err(&xas, -EEXIST);
		else
			stored += kz_store_next(&xas, mapping, run, stored);
		xas_unlock_irq(&xas);
		/* The first try may only find out which nodes to allocate. */
	} while (xas_nomem(&xas, GFP_KERNEL | __GFP_NOFAIL));
	*error = xas_error(&xas);
	return stored;
}

/**
 * kz_drain_once() - empties all processors' batches for LRU lists, which hold folios
 * @theft: of the call, in which it's done once, as it's dear
 *
 * Return: whether it did.
 */
bool kz_drain_once(struct kz_theft *theft)
{
	if (theft->drained)
		return false;
	theft->drained = true;
	kz_count(KZ_DRAINS, 1);
	return kz_drain();
}

/* Empties this processor's batches, which is cheap, or all processors'. */
static bool kz_drain_next(bool *here, struct kz_theft *theft)
{
	if (*here)
		return kz_drain_once(theft);
	*here = true;
	kz_drain_local();
	return true;
}

/**
 * kz_steal() - makes folios a file's
 * @kf: the file
 * @pages: of the folios, pinned once each by the caller, and in no page table any more. Pins of
 *	those that are the file's then may be let go of: NULL is in their place
 * @count: of them: one large folio's, or those of KZ_NODE_PAGES small ones at most
 * @index: in the file, naturally aligned for the folio
 * @held: in and out: whether the file has a page close by that somebody holds; the first one keeps
 *	its pin, if not
 * @theft: how it goes in this call
 *
 * Return: how many of the first pages the file has. If none, the first folio is as it was, and
 * must be copied; what follows may be tried again.
 */
unsigned long kz_steal(struct kz_file *kf, struct page **pages, unsigned long count, pgoff_t index,
		       bool *held, struct kz_theft *theft)
{
	struct folio *first = page_folio(pages[0]);
	unsigned int order = folio_order(first);
	struct kz_run run = { .pages = pages, .count = count >> order, .held = *held,
			      .memcg = folio_memcg(first), .nid = folio_nid(first) };
	bool drained_here = false;
	unsigned long stored;
	int error;

	theft->why = KZ_COPIED_FORCED;
	if (READ_ONCE(kz_force_copy))
		return 0;
	theft->why = KZ_COPIED_USED;
	if (!kz_leave_swap(first))
		return 0;
	do {
		run.count = count >> order;
		stored = kz_store_run(kf, &run, index, order, &error);
		/* The reference too many may be that of a batch on its way to an LRU list. */
	} while (!stored && error == -EBUSY && kz_drain_next(&drained_here, theft));
	theft->why = error == -EEXIST ? KZ_COPIED_OCCUPIED :
		     error == -EINVAL ? KZ_COPIED_USED : KZ_COPIED_HELD;
	*held = run.held;
	return stored << order;
}

/**
 * kz_copy() - copies a page into a new one of a file
 * @kf: the file
 * @from: the page
 * @index: in the file
 *
 * If there is a page already, for instance one of a huge page that shmem itself made when someone
 * read the hole before it, then it is this one that gets the bytes.
 *
 * Return: 0, or -EIO if the page in the file can't be had at all, or the hardware has lost some of
 * the bytes.
 */
int kz_copy(struct kz_file *kf, struct page *from, pgoff_t index)
{
	struct address_space *mapping = kf->inode->i_mapping;
	gfp_t gfp = mapping_gfp_mask(mapping) | __GFP_NOFAIL;
	struct page *to;
	bool copied;
	int tries = 0;

	do {
		to = shmem_read_mapping_page_gfp(mapping, index, gfp);
		if (IS_ERR(to))
			msleep(20);
	} while (IS_ERR(to) && PTR_ERR(to) == -ENOMEM && ++tries < 50);
	if (IS_ERR(to)) {
		pr_err_ratelimited("kernelzero: page %lu of a file is lost: %ld\n", index,
				   PTR_ERR(to));
		return -EIO;
	}
	lock_page(to);
	copied = kz_copy_bytes(to, from);
	flush_dcache_page(to);
	set_page_dirty(to);
	unlock_page(to);
	kz_file_guard(kf, to, index);
	if (!copied)
		pr_err_ratelimited("kernelzero: page %lu of a file is lost: its memory is broken\n",
				   index);
	return copied ? 0 : -EIO;
}

/*
 * Splits the huge page that a page is of, if it can be; the caller holds one plain reference. It may
 * be anything by now that another thread has mapped there, and the kernel trusts who asks.
 */
void kz_split(struct page *page)
{
	if (!kz_is_large(page))
		return;
	lock_page(page);
	if (kz_is_plain(page_folio(page)))
		kz_count(KZ_SPLIT, kz_split_huge_page(page));
	unlock_page(page);
}
