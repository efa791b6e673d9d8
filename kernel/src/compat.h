/* SPDX-License-Identifier: GPL-2.0 */
/* What differs between kernel versions, and symbols that the kernel doesn't export. */
#ifndef KZ_COMPAT_H
#define KZ_COMPAT_H

#include <linux/file.h>
#include <linux/fs.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/huge_mm.h>
#include <linux/pagemap.h>
#include <linux/shmem_fs.h>
#include <linux/swap.h>
#include <linux/uaccess.h>
#include <linux/version.h>
#include <linux/vmstat.h>

/* Those that it was built for and run on: whoever wants to try another is to know it. */
#define KZ_IS_LINUX(minor) (LINUX_VERSION_CODE >= KERNEL_VERSION(6, minor, 0) && \
			    LINUX_VERSION_CODE < KERNEL_VERSION(6, (minor) + 1, 0))
#if !KZ_IS_LINUX(1) && !KZ_IS_LINUX(12) && !defined(KZ_UNTRIED)
#error "KernelZero was run on Linux 6.1 and 6.12 only, and uses what changes between versions"
#endif
#ifndef CONFIG_X86_64
#error "KernelZero is for x86-64: only there has it been run"
#endif
#ifndef CONFIG_TRANSPARENT_HUGEPAGE
#error "KernelZero needs transparent huge pages"
#endif

/* Symbols that modules can't link to, looked up at load */
void kz_symbols_init(void);
bool kz_can_split(void);
bool kz_split_huge_page(struct page *page);
bool kz_can_free_swap(void);
bool kz_free_swap(struct folio *folio);
bool kz_drain(void);
void kz_drain_local(void);
bool kz_can_move_entries(void);
bool kz_hold_entry(swp_entry_t entry);
void kz_drop_entry(swp_entry_t entry);

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0) && defined(CONFIG_SYSFS)
#define KZ_COUNTS_LARGE_FOLIOS
void kz_count_not_anonymous(struct folio *folio);
#else
static inline void kz_count_not_anonymous(struct folio *folio)
{
}
#endif

/*
 * Which address space this is: a number that no other one ever gets, so that it can be compared
 * later without holding the mm. exec makes another one; threads and vfork share it.
 */
static inline u64 kz_address_space(void)
{
	return current->mm->context.ctx_id;
}

/* Whether a page is part of a huge page, or of another large folio. */
static inline bool kz_is_large(struct page *page)
{
	return folio_test_large(page_folio(page));
}

/*
 * Copies a page's bytes. Return: whether all could be read; if not, because the hardware has lost
 * some, the kernel is told of it.
 */
static inline bool kz_copy_bytes(struct page *to, struct page *from)
{
	if (!copy_mc_to_kernel(page_address(to), page_address(from), PAGE_SIZE))
		return true;
	memory_failure_queue(page_to_pfn(from), 0);
	return false;
}

static inline long kz_get_user_pages(unsigned long start, unsigned long count, unsigned int flags,
				     struct page **pages)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 5, 0)
	return get_user_pages(start, count, flags, pages);
#else
	return get_user_pages(start, count, flags, pages, NULL);
#endif
}

static inline struct file *kz_fd_file(struct fd fd)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
	return fd_file(fd);
#else
	return fd.file;
#endif
}

static inline void kz_vm_flags_set(struct vm_area_struct *vma, unsigned long flags)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_set(vma, flags);
#else
	vma->vm_flags |= flags;
#endif
}

/* Every VMA of some memory, up to a hole. (for_each_vma_range() looks behind the last one, too.) */
#define kz_for_each_mapping(vma, mm, start, end) \
	for ((vma) = vma_lookup(mm, start); vma; \
	     (vma) = (vma)->vm_end < (end) ? vma_lookup(mm, (vma)->vm_end) : NULL)

/* Waits for those who have the VMA's own lock, and keeps it from others until the mm's goes. */
static inline void kz_vma_start_write(struct vm_area_struct *vma)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
	vma_start_write(vma);
#endif
}

/* Whether a VMA must stay as it is (mseal). */
static inline bool kz_is_sealed(struct vm_area_struct *vma)
{
#ifdef VM_SEALED
	return vma->vm_flags & VM_SEALED;
#else
	return false;
#endif
}

/* Takes pages that lie in one VMA out of the page tables; the mmap lock is held. */
static inline void kz_zap_pages(struct vm_area_struct *vma, unsigned long start, unsigned long end)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	zap_page_range_single(vma, start, end - start, NULL);
#else
	zap_page_range(vma, start, end - start);
#endif
}

/*
 * Gives up the lock under which a fault is handled, before one that asked for it is retried. Before
 * 6.6 faults in files have no other than the mm's.
 */
static inline void kz_release_fault_lock(struct vm_fault *vmf)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
	release_fault_lock(vmf);
#else
	mmap_read_unlock(vmf->vma->vm_mm);
#endif
}

/* What the operations of an inode get of whose ids are whose. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
#define KZ_IDMAP struct mnt_idmap
#define KZ_NO_IDMAP (&nop_mnt_idmap)
#else
#define KZ_IDMAP struct user_namespace
#define KZ_NO_IDMAP (&init_user_ns)
#endif

/* Tells shmem of pages that came into the inode's mapping without its doing. */
static inline void kz_shmem_add_pages(struct inode *inode, long pages)
{
	struct shmem_inode_info *info = SHMEM_I(inode);

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
	inode_add_bytes(inode, (loff_t)pages << PAGE_SHIFT);
	spin_lock(&info->lock);
	info->alloced += pages;
	spin_unlock(&info->lock);
#else
	spin_lock_irq(&info->lock);
	info->alloced += pages;
	inode->i_blocks += pages << (PAGE_SHIFT - 9);
	spin_unlock_irq(&info->lock);
#endif
}

/* The same of pages that came as entries of swap, or don't come after all: then it's less than 0. */
static inline void kz_shmem_add_swapped(struct inode *inode, long pages)
{
	struct shmem_inode_info *info = SHMEM_I(inode);

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
	if (pages > 0)
		inode_add_bytes(inode, (loff_t)pages << PAGE_SHIFT);
	else
		inode_sub_bytes(inode, (loff_t)-pages << PAGE_SHIFT);
	spin_lock(&info->lock);
	info->alloced += pages;
	info->swapped += pages;
	spin_unlock(&info->lock);
#else
	spin_lock_irq(&info->lock);
	info->alloced += pages;
	info->swapped += pages;
	inode->i_blocks += pages << (PAGE_SHIFT - 9);
	spin_unlock_irq(&info->lock);
#endif
}

#endif
