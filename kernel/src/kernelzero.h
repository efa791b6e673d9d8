/* SPDX-License-Identifier: GPL-2.0 */
/* KernelZero's own header: what its files know of each other. */
#ifndef KERNELZERO_H
#define KERNELZERO_H

#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/wait.h>
#include <linux/xarray.h>

#include "../include/uapi/kernelzero.h"

struct kz_user;

/**
 * struct kz_takeover - a mapping of a file that is to replace memory
 * @before_map: asked before what was there goes, with the mmap lock held for writing; an errno
 *	leaves it there
 * @closes_gate: who looks at the mapping waits for its pages. Not if the mapping is to go before
 *	they come: that takes the mmap lock, which who waits may hold
 * @vm_flags: what the mapping gets beyond its rights
 */
struct kz_takeover {
	int (*before_map)(struct kz_takeover *takeover);
	bool closes_gate;
	unsigned long vm_flags;
};

/**
 * struct kz_file - one of the module's files
 * @inode: of shmem. Its dentry's d_fsdata points here, so that every way to the file, also one
 *	opened anew through /proc, leads to this state; it goes with the dentry.
 * @owner: kz_address_space() of who made the file and may append to it
 * @user: whom the file's bytes count for
 * @append: held while ranges are appended
 * @ready: pages that are in the file for good. Only grows.
 * @pending: pages that will be ready once the current append is through; else the same as @ready
 * @gate: where those wait who fault in pages between @ready and @pending. They may hold the mmap
 *	lock, so who is to open the gate never takes it while the gate is closed.
 * @guard: a page of the file that the current append holds, at index @guard_index, see
 *	kz_file_guard()
 * @mover: task that replaces its own mapping by one of the file right now
 * @takeover: how; @mover's alone
 * @reserved: bytes that count for @user and for overcommit: up to the file's end, and while it is
 *	appended to more
 */
struct kz_file {
	struct inode *inode;
	u64 owner;
	struct kz_user *user;
	struct mutex append;
	pgoff_t ready;
	pgoff_t pending;
	wait_queue_head_t gate;
	struct page *guard;
	pgoff_t guard_index;
	struct task_struct *mover;
	struct kz_takeover *takeover;
	u64 reserved;
};

/**
 * struct kz_steps - fault injection of one call
 * @left: steps that may fail until the one that does; 0: none does
 */
struct kz_steps {
	unsigned int left;
};

/* What is counted; the pages that are copied, by why */
enum kz_counter {
	KZ_PIECES,
	KZ_RETRIES,		/* pieces that other threads had changed meanwhile */
	KZ_MOVED,
	KZ_SWAPPED,		/* of those: without being read in */
	KZ_SPLIT,		/* huge pages */
	KZ_DRAINS,		/* of all processors' LRU batches */
	KZ_COPIED_EDGE,
	KZ_COPIED_SHARED,	/* by copy-on-write: another process or KSM has the page as well */
	KZ_COPIED_CUT,		/* part of a huge page, or one that lies askew */
	KZ_COPIED_HELD,		/* somebody has a reference */
	KZ_COPIED_USED,		/* mapped elsewhere, in swap for others, locked, or no plain page */
	KZ_COPIED_OCCUPIED,	/* the kernel had put a page there in the file */
	KZ_COPIED_SWAPPED,	/* swapped out, and the first of a huge page's place in the file */
	KZ_COPIED_FORCED,
	KZ_NR_COUNTERS
};

/**
 * struct kz_theft - how stealing goes, in one call
 * @drained: whether all batches of the LRU lists were drained already
 * @why: what the last page that wasn't stolen counts as
 */
struct kz_theft {
	bool drained;
	enum kz_counter why;
};

/* main.c */
extern unsigned int kz_max_ranges;
extern unsigned long kz_max_call_pages;
extern unsigned long kz_piece_pages;
extern unsigned long kz_max_user_bytes;
extern bool kz_force_copy;
bool kz_inject_failure(struct kz_steps *steps);

/* account.c */
extern struct file *kz_promise; /* a file of shmem, and nothing in it */
struct kz_user *kz_user_get(kuid_t uid);
void kz_user_put(struct kz_user *user);
void kz_user_uncharge(struct kz_user *user, u64 bytes);
int kz_reserve(struct kz_user *user, u64 bytes);
void kz_unreserve(struct kz_user *user, u64 bytes);

/* file.c */
int kz_files_init(void);
void kz_files_exit(void);
int kz_file_create(struct kz_steps *steps);
struct kz_file *kz_file_of(struct file *file);
pgoff_t kz_file_end(struct kz_file *kf);
void kz_file_guard(struct kz_file *kf, struct page *page, pgoff_t index);
bool kz_file_has_guard(struct kz_file *kf, pgoff_t index);
int kz_file_reserve(struct kz_file *kf, pgoff_t pages, pgoff_t more, struct kz_steps *steps);
void kz_file_cancel(struct kz_file *kf);
void kz_file_settle(struct kz_file *kf);
void kz_file_close_gate(struct kz_file *kf);
void kz_file_open_gate(struct kz_file *kf);
void kz_file_publish(struct kz_file *kf);

/* How many pages are in the file for good, and can be seen. */
static inline pgoff_t kz_file_ready(struct kz_file *kf)
{
	/* Pairs with kz_file_publish(). */
	return smp_load_acquire(&kf->ready);
}

long kz_live_files(void);
long kz_live_pages(void);

/* view.c */
void kz_use_view_operations(struct file_operations *fops);

/* counters.c */
void kz_count(enum kz_counter counter, long count);

/* move.c */
long kz_move(struct kz_move *move, void __user *header, size_t header_size,
	     struct kz_steps *steps);

/* steal.c */
#define KZ_NODE_PAGES XA_CHUNK_SIZE /* as many as share a node of a file's xarray */
unsigned long kz_steal(struct kz_file *kf, struct page **pages, unsigned long count, pgoff_t index,
		       bool *held, struct kz_theft *theft);
bool kz_drain_once(struct kz_theft *theft);
int kz_copy(struct kz_file *kf, struct page *from, pgoff_t index);
void kz_split(struct page *page);

/* swap.c */
int kz_swap_init(void);
void kz_swap_exit(void);

/* query.c */
long kz_query(struct kz_query *query);

#endif
