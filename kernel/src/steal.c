// SPDX-License-Identifier: GPL-2.0
/*
 * One folio of anonymous memory becomes a file's, or its bytes do. Nothing here may fail for lack
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

/* Whether a locked folio is nobody's any more but that of those who hold references. */
static bool kz_is_orphan(struct folio *folio)
{
	if (!folio_test_anon(folio) || folio_test_ksm(folio) || folio_test_hugetlb(folio) ||
	    !folio_test_swapbacked(folio) || !folio_test_uptodate(folio) ||
	    folio_test_mlocked(folio) || folio_mapped(folio))
		return false;
	folio_wait_writeback(folio);
	/* A slot in swap may be in another process's page table. */
	return !folio_test_swapcache(folio) || kz_free_swap(folio);
}

/* Whether two locked folios are charged to the same memory cgroup, and lie in the same node. */
static bool kz_count_alike(struct folio *folio, struct folio *other)
{
	return folio_memcg(folio) == folio_memcg(other) && folio_nid(folio) == folio_nid(other);
}

/*
 * Locks folios that can go into the file together: a large one alone, or the first small ones.
 * Only the first is waited for: waiting for the others while holding it could deadlock.
 *
 * Return: how many; their pages are the first ones.
 */
static unsigned long kz_lock_run(struct page **pages, unsigned long count)
{
	struct folio *first = page_folio(pages[0]);
	unsigned long locked = 1;

	folio_lock(first);
	if (!kz_is_orphan(first)) {
		folio_unlock(first);
		return 0;
	}
	if (folio_test_large(first))
		return 1;
	while (locked < count) {
		struct folio *folio = page_folio(pages[locked]);

		if (folio_test_large(folio) || !folio_trylock(folio))
			break;
		if (!kz_count_alike(folio, first) || !kz_is_orphan(folio)) {
			folio_unlock(folio);
			break;
		}
		locked++;
	}
	return locked;
}

/*
 * Stores a folio where @xas is, if nobody but the mover holds a reference: another's might be a
 * pipe's or a device's that writes to the page, when the file must not change any more. With its
 * references frozen nobody can find the folio while it changes sides. The xarray is locked.
 *
 * Return: whether it did. If not, the error is in @xas: -EEXIST if there is a page already, -EBUSY
 * if there are other references, -ENOMEM if the xarray needs a node.
 */
static bool kz_store(struct xa_state *xas, struct address_space *mapping, struct folio *folio)
{
	long pages = folio_nr_pages(folio), i;
	int held = kz_pin_references(folio);

	/* A large folio takes many slots; for small ones @xas goes on from slot to slot. */
	if (folio_test_large(folio) ? xas_find_conflict(xas) : xas_load(xas)) {
		xas_set_err(xas, -EEXIST);
		return false;
	}
	if (!folio_ref_freeze(folio, held)) {
		xas_set_err(xas, -EBUSY);
		return false;
	}
	xas_store(xas, folio);
	if (xas_error(xas)) {
		folio_ref_unfreeze(folio, held);
		return false;
	}
	for (i = 0; i < pages; i++)
		ClearPageAnonExclusive(folio_page(folio, i));
	folio->mapping = mapping;
	folio->index = xas->xa_index;
	folio_ref_unfreeze(folio, held + pages);
	return true;
}

/*
 * Stores the locked folios of a run one behind the other, as far as nothing is in the way.
 *
 * Return: how many; else 0, and in @error why not the first one.
 */
static unsigned long kz_store_run(struct kz_file *kf, struct page **pages, unsigned long count,
				  pgoff_t index, int *error)
{
	struct address_space *mapping = kf->inode->i_mapping;
	struct folio *first = page_folio(pages[0]);
	long each = folio_nr_pages(first);
	XA_STATE_ORDER(xas, &mapping->i_pages, index, folio_order(first));
	unsigned long stored = 0, before;

	do {
		before = stored;
		xas_lock_irq(&xas);
		while (stored < count && kz_store(&xas, mapping, page_folio(pages[stored]))) {
			stored++;
			xas_next(&xas);
		}
		mapping->nrpages += (stored - before) * each;
		/* The memory cgroup's charge stays as it is; what it counts it as doesn't. */
		__lruvec_stat_mod_folio(first, NR_FILE_PAGES, (stored - before) * each);
		__lruvec_stat_mod_folio(first, NR_SHMEM, (stored - before) * each);
		if (folio_test_pmd_mappable(first))
			__lruvec_stat_mod_folio(first, NR_SHMEM_THPS, (stored - before) * each);
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
 * @pages: of the folios, pinned once each by the caller, and in no page table any more
 * @count: of them: one large folio's, or those of KZ_RUN small ones at most
 * @index: in the file, naturally aligned for the folio
 * @theft: how it goes in this call
 *
 * Return: how many of the first pages the file has. If none, the first folio is as it was, and
 * must be copied; what follows may be tried again.
 */
unsigned long kz_steal(struct kz_file *kf, struct page **pages, unsigned long count, pgoff_t index,
		       struct kz_theft *theft)
{
	unsigned long locked, stored = 0, i;
	bool drained_here = false;
	int error = 0;

	theft->why = KZ_COPIED_FORCED;
	if (READ_ONCE(kz_force_copy))
		return 0;
retry:
	locked = kz_lock_run(pages, count);
	if (locked)
		stored = kz_store_run(kf, pages, locked, index, &error);
	for (i = 0; i < locked; i++) {
		struct folio *folio = page_folio(pages[i]);

		if (i < stored)
			folio_mark_dirty(folio); /* reclaim would drop a clean page */
		folio_unlock(folio);
	}
	/* The reference too many may be that of a batch on its way to an LRU list. */
	if (locked && !stored && error == -EBUSY &&
	    kz_drain_next(&drained_here, theft))
		goto retry;
	theft->why = !locked ? KZ_COPIED_USED : error == -EEXIST ? KZ_COPIED_OCCUPIED :
		     KZ_COPIED_HELD;
	return stored * folio_nr_pages(page_folio(pages[0]));
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
 * Return: 0, or -EIO if the page in the file can't be had at all.
 */
int kz_copy(struct kz_file *kf, struct page *from, pgoff_t index)
{
	struct address_space *mapping = kf->inode->i_mapping;
	gfp_t gfp = mapping_gfp_mask(mapping) | __GFP_NOFAIL;
	struct page *to;
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
	copy_highpage(to, from);
	flush_dcache_page(to);
	set_page_dirty(to);
	unlock_page(to);
	kz_file_guard(kf, to, index);
	return 0;
}

/* Splits the huge page that a page is of, if it can be; the caller holds one plain reference. */
void kz_split(struct page *page)
{
	if (!kz_is_large(page))
		return;
	lock_page(page);
	kz_count(KZ_SPLIT, kz_split_huge_page(page));
	unlock_page(page);
}
