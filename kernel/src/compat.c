// SPDX-License-Identifier: GPL-2.0
/*
 * Symbols that the kernel doesn't export. Nothing depends on them: what a missing one would do is
 * done by copying, and KZ_VERSION's capabilities tell.
 *
 * They are called directly, as static calls are: with indirect branch tracking the kernel closes
 * functions that it never calls through a pointer to whoever does.
 */
#include <linux/kprobes.h>
#include <linux/static_call.h>

#include "compat.h"
#include "kernelzero.h"

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
#define KZ_SPLIT_NAME "split_huge_page_to_list_to_order"
typedef int kz_split_function(struct page *page, struct list_head *list, unsigned int order);
#else
#define KZ_SPLIT_NAME "split_huge_page_to_list"
typedef int kz_split_function(struct page *page, struct list_head *list);
#endif
typedef bool kz_free_swap_function(struct folio *folio);
typedef void kz_drain_function(void);
typedef int kz_duplicate_function(swp_entry_t entry);
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
#define KZ_FREE_ENTRY_NAME "free_swap_and_cache_nr"
typedef void kz_free_entry_function(swp_entry_t entry, int count);
#else
#define KZ_FREE_ENTRY_NAME "free_swap_and_cache"
typedef int kz_free_entry_function(swp_entry_t entry);
#endif
typedef struct folio *kz_cached_function(swp_entry_t entry, struct vm_area_struct *vma,
					 unsigned long address);

DEFINE_STATIC_CALL_NULL(kz_split_call, kz_split_function);
DEFINE_STATIC_CALL_NULL(kz_free_swap_call, kz_free_swap_function);
DEFINE_STATIC_CALL_NULL(kz_drain_call, kz_drain_function);
DEFINE_STATIC_CALL_NULL(kz_drain_local_call, kz_drain_function);
DEFINE_STATIC_CALL_NULL(kz_duplicate_call, kz_duplicate_function);
DEFINE_STATIC_CALL_NULL(kz_free_entry_call, kz_free_entry_function);
DEFINE_STATIC_CALL_NULL(kz_cached_call, kz_cached_function);

/*
 * A kprobe finds what kallsyms_lookup_name() would, or the instruction behind the function's ENDBR,
 * which is as good for a direct call.
 */
static void *kz_lookup(const char *name)
{
	struct kprobe probe = { .symbol_name = name };
	void *found;

	if (register_kprobe(&probe))
		return NULL;
	found = probe.addr;
	unregister_kprobe(&probe);
	return found;
}

#ifdef KZ_COUNTS_LARGE_FOLIOS
typedef unsigned long kz_find_function(const char *name);
DEFINE_STATIC_CALL_NULL(kz_find_call, kz_find_function);

/* How many folios of each order there are, by what they're used for; each processor's own count. */
static struct mthp_stat __percpu *kz_large_folios;

/* Data, which kprobes don't find, are found by what they do find. */
static void kz_find_data(void)
{
	static_call_update(kz_find_call, (kz_find_function *)kz_lookup("kallsyms_lookup_name"));
	if (static_call_query(kz_find_call))
		kz_large_folios = (struct mthp_stat __percpu *)
				  static_call(kz_find_call)("mthp_stats");
}

/**
 * kz_count_not_anonymous() - tells the kernel that a large folio isn't anonymous any more
 * @folio: which it was
 *
 * The kernel counts those that are, by their order, and takes one off only when it frees it as such.
 */
void kz_count_not_anonymous(struct folio *folio)
{
	if (kz_large_folios && folio_order(folio) <= PMD_ORDER)
		this_cpu_dec(kz_large_folios->stats[folio_order(folio)][MTHP_STAT_NR_ANON]);
}
#else
static void kz_find_data(void)
{
}
#endif

void kz_symbols_init(void)
{
	static_call_update(kz_split_call, (kz_split_function *)kz_lookup(KZ_SPLIT_NAME));
	static_call_update(kz_free_swap_call,
			   (kz_free_swap_function *)kz_lookup("folio_free_swap"));
	static_call_update(kz_drain_call, (kz_drain_function *)kz_lookup("lru_add_drain_all"));
	static_call_update(kz_drain_local_call, (kz_drain_function *)kz_lookup("lru_add_drain"));
	static_call_update(kz_duplicate_call,
			   (kz_duplicate_function *)kz_lookup("swap_duplicate"));
	static_call_update(kz_free_entry_call,
			   (kz_free_entry_function *)kz_lookup(KZ_FREE_ENTRY_NAME));
	static_call_update(kz_cached_call, (kz_cached_function *)kz_lookup("swap_cache_get_folio"));
	kz_find_data();
}

/* Whether huge pages can be split. */
bool kz_can_split(void)
{
	return static_call_query(kz_split_call);
}

/*
 * Splits the huge page that a locked page is of; the lock stays on this page. Return: whether it
 * could be.
 */
bool kz_split_huge_page(struct page *page)
{
	if (!kz_can_split())
		return false;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
	return !static_call(kz_split_call)(page, NULL, 0);
#else
	return !static_call(kz_split_call)(page, NULL);
#endif
}

/* Whether folios can give up what they have in swap. */
bool kz_can_free_swap(void)
{
	return static_call_query(kz_free_swap_call);
}

/* Frees a locked folio's slots in swap, if nobody else uses them. Return: whether it has none. */
bool kz_free_swap(struct folio *folio)
{
	return kz_can_free_swap() && static_call(kz_free_swap_call)(folio);
}

/* Lets go of pages that are on their way to an LRU list. Return: whether it could. */
bool kz_drain(void)
{
	static_call_cond(kz_drain_call)();
	return static_call_query(kz_drain_call);
}

/* The same on this processor alone, which is cheap. */
void kz_drain_local(void)
{
	static_call_cond(kz_drain_local_call)();
}

/* Whether entries of swap can move. */
bool kz_can_move_entries(void)
{
	return static_call_query(kz_duplicate_call) && static_call_query(kz_free_entry_call) &&
	       static_call_query(kz_cached_call);
}

/*
 * Counts one more use of an entry, which a page table has; its lock is held. Return: whether it did:
 * not if the page is in memory, too, where it could be part of a huge one.
 */
bool kz_hold_entry(swp_entry_t entry)
{
	struct folio *cached = static_call(kz_cached_call)(entry, NULL, 0);

	if (cached) {
		folio_put(cached);
		return false;
	}
	return !static_call(kz_duplicate_call)(entry);
}

/* Takes that use back. */
void kz_drop_entry(swp_entry_t entry)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
	static_call(kz_free_entry_call)(entry, 1);
#else
	static_call(kz_free_entry_call)(entry);
#endif
}
