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
#include <linux/version.h>
#include <linux/vmstat.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)
#error "KernelZero needs Linux 6.1"
#endif
#ifndef CONFIG_TRANSPARENT_HUGEPAGE
#error "KernelZero needs transparent huge pages"
#endif

/**
 * struct kz_symbols - functions that modules can't link to, looked up at load
 * @free_swap: folio_free_swap(): without it pages that keep a copy in swap are copied
 * @split: splits a huge page: without it the huge pages that a range cuts are copied
 * @drain: lru_add_drain_all(): without it pages that were touched just now may be copied
 * @drain_local: lru_add_drain(): saves most calls of @drain
 */
struct kz_symbols {
	bool (*free_swap)(struct folio *folio);
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
	int (*split)(struct page *page, struct list_head *list, unsigned int order);
#else
	int (*split)(struct page *page, struct list_head *list);
#endif
	void (*drain)(void);
	void (*drain_local)(void);
};

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
#define KZ_SPLIT_NAME "split_huge_page_to_list_to_order"
#else
#define KZ_SPLIT_NAME "split_huge_page_to_list"
#endif

extern struct kz_symbols kz_symbols;
void kz_symbols_init(void);

static inline int kz_symbol_split(struct page *page)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
	return kz_symbols.split(page, NULL, 0);
#else
	return kz_symbols.split(page, NULL);
#endif
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

/* Waits for those who have the VMA's own lock, and keeps it from others until the mm's goes. */
static inline void kz_vma_start_write(struct vm_area_struct *vma)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
	vma_start_write(vma);
#endif
}

/* Gives up the lock under which a fault is handled, before one that asked for it is retried. */
static inline void kz_release_fault_lock(struct vm_fault *vmf)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
	release_fault_lock(vmf);
#else
	mmap_read_unlock(vmf->vma->vm_mm);
#endif
}

static inline int kz_setattr(struct dentry *dentry, struct iattr *attr)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	return d_inode(dentry)->i_op->setattr(&nop_mnt_idmap, dentry, attr);
#else
	return d_inode(dentry)->i_op->setattr(&init_user_ns, dentry, attr);
#endif
}

static inline void kz_stat_mod_folio(struct folio *folio, enum node_stat_item item, long pages)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
	__lruvec_stat_mod_folio(folio, item, pages);
#else
	__mod_lruvec_page_state(&folio->page, item, pages);
#endif
}

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

#endif
