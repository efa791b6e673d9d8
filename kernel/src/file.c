// SPDX-License-Identifier: GPL-2.0
/*
 * The module's files: unlinked files of shmem whose operations are shmem's, but for views (view.c),
 * and a lock on everything that would write. What is in a file for good only grows; nobody sees
 * more of it.
 */
#include <linux/cred.h>
#include <linux/dcache.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/module.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/uio.h>

#include "compat.h"
#include "kernelzero.h"

static atomic_long_t kz_nr_files = ATOMIC_LONG_INIT(0);
static atomic_long_t kz_nr_pages = ATOMIC_LONG_INIT(0);

/* Shmem's operations, and ours, which are theirs with some replaced. */
static const struct file_operations *shmem_fops;
static struct file_operations kz_fops;
static const struct inode_operations *shmem_iops;
static struct inode_operations kz_iops;
static struct dentry_operations kz_dentry_ops;

long kz_live_files(void)
{
	return atomic_long_read(&kz_nr_files);
}

long kz_live_pages(void)
{
	return atomic_long_read(&kz_nr_pages);
}

/* Whether the guard is a page of the same place for a huge page as the one at @index. */
bool kz_file_has_guard(struct kz_file *kf, pgoff_t index)
{
	return kf->guard && index / HPAGE_PMD_NR == kf->guard_index / HPAGE_PMD_NR;
}

/**
 * kz_file_guard() - keeps the kernel from making a huge page of pages that are being appended to
 * @kf: the file, append lock held
 * @page: one of its pages, with a reference that goes over; or NULL: lets go of the last one
 * @index: of the page
 *
 * MADV_COLLAPSE and khugepaged fill up with zeros what isn't there yet, and map the whole. They
 * can't while one of the pages is held. Of what is moved the first page in each place for a huge one
 * is, by its pin; so it's enough to hold one page where the append begins, and one of those that are
 * copied.
 */
void kz_file_guard(struct kz_file *kf, struct page *page, pgoff_t index)
{
	if (page && kz_file_has_guard(kf, index)) {
		put_page(page);
		return;
	}
	if (kf->guard)
		put_page(kf->guard);
	kf->guard = page;
	kf->guard_index = index;
}

/**
 * kz_file_end() - where to append
 * @kf: the file, append lock held
 *
 * Return: index of the first page behind the file's end that no huge page lies across. The last
 * page is guarded then.
 */
pgoff_t kz_file_end(struct kz_file *kf)
{
	struct address_space *mapping = kf->inode->i_mapping;
	struct page *last;
	pgoff_t end;

	if (IS_ALIGNED(kf->ready, HPAGE_PMD_NR))
		return kf->ready;
	last = shmem_read_mapping_page_gfp(mapping, kf->ready - 1, mapping_gfp_mask(mapping));
	if (IS_ERR(last))
		return ALIGN(kf->ready, HPAGE_PMD_NR);
	end = folio_next_index(page_folio(last));
	kz_file_guard(kf, last, kf->ready - 1);
	return end;
}

/* Counts bytes that the file is to get, and if there is room for them @more that it gets later. */
static int kz_file_count(struct kz_file *kf, u64 bytes, u64 more, struct kz_steps *steps)
{
	int error = kz_reserve(kf->user, bytes + more);

	if (error && error != -EINTR && more) {
		more = 0;
		error = kz_reserve(kf->user, bytes);
	}
	if (error)
		return error;
	if (kz_inject_failure(steps)) {
		kz_unreserve(kf->user, bytes + more);
		return -ENOMEM;
	}
	kf->reserved += bytes + more;
	return 0;
}

/**
 * kz_file_reserve() - makes room at a file's end
 * @kf: the file, append lock held
 * @pages: where the new end is to be
 * @more: pages that the call is going to need then, at least; they count already, so that a call of
 *	many ranges counts once
 * @steps: fault injection
 *
 * The size is set before the pages come, because the kernel throws away what a huge page that it
 * splits has beyond the end. Whoever looks there still finds nothing.
 *
 * Return: 0, -EFBIG, -EDQUOT, -ENOMEM, or -EINTR; then nothing has changed.
 */
int kz_file_reserve(struct kz_file *kf, pgoff_t pages, pgoff_t more, struct kz_steps *steps)
{
	u64 size = (u64)pages << PAGE_SHIFT, limit = rlimit(RLIMIT_FSIZE);
	int error = 0;

	if (size > MAX_LFS_FILESIZE || size > limit)
		return -EFBIG;
	if (kz_inject_failure(steps))
		return -ENOMEM;
	if (size > kf->reserved)
		error = kz_file_count(kf, size - kf->reserved,
				      min((u64)more << PAGE_SHIFT, limit - size), steps);
	if (!error)
		i_size_write(kf->inode, size);
	return error;
}

/* Gives up the room that kz_file_reserve() made; no page may have come there. */
void kz_file_cancel(struct kz_file *kf)
{
	i_size_write(kf->inode, (loff_t)kf->ready << PAGE_SHIFT);
}

/* The end of a call: no more counts than what the file has. */
void kz_file_settle(struct kz_file *kf)
{
	u64 bytes = kf->reserved - i_size_read(kf->inode);

	if (!bytes)
		return;
	kz_unreserve(kf->user, bytes);
	kf->reserved -= bytes;
}

/* From now on whoever faults in what kz_file_reserve() made room for waits. */
void kz_file_close_gate(struct kz_file *kf)
{
	WRITE_ONCE(kf->pending, i_size_read(kf->inode) >> PAGE_SHIFT);
}

/* Lets those who wait go without. */
void kz_file_open_gate(struct kz_file *kf)
{
	WRITE_ONCE(kf->pending, kf->ready);
	wake_up_all(&kf->gate);
}

/* What kz_file_reserve() made room for is in the file. */
void kz_file_publish(struct kz_file *kf)
{
	pgoff_t pages = i_size_read(kf->inode) >> PAGE_SHIFT;

	atomic_long_add(pages - kf->ready, &kz_nr_pages);
	/* Pairs with the acquire of those who come through the gate: they see the pages. */
	smp_store_release(&kf->ready, pages);
	kz_file_open_gate(kf);
}

/* Nobody opens the file for writing, root neither. */
static int kz_open(struct inode *inode, struct file *file)
{
	if (file->f_mode & FMODE_WRITE)
		return -EPERM;
	return shmem_fops->open ? shmem_fops->open(inode, file) : 0;
}

/*
 * Nobody sets the size, not even to what it is: shmem would take away what is behind that, which may
 * be pages that are just coming.
 */
static int kz_setattr(KZ_IDMAP *idmap, struct dentry *dentry, struct iattr *attr)
{
	return attr->ia_valid & ATTR_SIZE ? -EPERM : shmem_iops->setattr(idmap, dentry, attr);
}

static loff_t kz_ready_bytes(struct kz_file *kf)
{
	return (loff_t)kz_file_ready(kf) << PAGE_SHIFT;
}

static int kz_getattr(KZ_IDMAP *idmap, const struct path *path, struct kstat *status, u32 mask,
		      unsigned int flags)
{
	int error = shmem_iops->getattr(idmap, path, status, mask, flags);

	status->size = kz_ready_bytes(path->dentry->d_fsdata);
	return error;
}

static loff_t kz_llseek(struct file *file, loff_t offset, int whence)
{
	if (whence != SEEK_END)
		return shmem_fops->llseek(file, offset, whence);
	return generic_file_llseek_size(file, offset, whence, MAX_LFS_FILESIZE,
					kz_ready_bytes(kz_file_of(file)));
}

/* How many bytes from a position on are in the file for good. */
static size_t kz_readable(struct file *file, loff_t position, size_t count)
{
	loff_t size = kz_ready_bytes(kz_file_of(file));

	return position < size ? min_t(loff_t, size - position, count) : 0;
}

static ssize_t kz_read_iter(struct kiocb *iocb, struct iov_iter *to)
{
	size_t count = iov_iter_count(to);
	size_t readable = kz_readable(iocb->ki_filp, iocb->ki_pos, count);
	ssize_t result;

	if (!readable)
		return 0;
	iov_iter_truncate(to, readable);
	result = shmem_fops->read_iter(iocb, to);
	iov_iter_reexpand(to, iov_iter_count(to) + count - readable);
	return result;
}

static ssize_t kz_splice_read(struct file *file, loff_t *position, struct pipe_inode_info *pipe,
			      size_t count, unsigned int flags)
{
	count = kz_readable(file, *position, count);
	if (!count)
		return 0;
	return shmem_fops->splice_read(file, position, pipe, count, flags);
}

/*
 * The dentry lets go of the inode: the last use of the file, however many descriptors, mappings and
 * paths of it there were. The caller returns here after the module's reference is gone, which
 * kz_files_exit() waits for.
 */
static void kz_iput(struct dentry *dentry, struct inode *inode)
{
	struct kz_file *kf = dentry->d_fsdata;

	dentry->d_fsdata = NULL;
	inode->i_fop = shmem_fops;
	inode->i_op = shmem_iops;
	iput(inode);
	kz_user_uncharge(kf->user, kf->reserved);
	kz_user_put(kf->user);
	atomic_long_sub(kf->ready, &kz_nr_pages);
	atomic_long_dec(&kz_nr_files);
	kfree(kf);
	module_put(THIS_MODULE);
}

/* The state of one of our files; NULL if it's another's. */
struct kz_file *kz_file_of(struct file *file)
{
	struct dentry *dentry = file->f_path.dentry;

	return dentry->d_op == &kz_dentry_ops ? dentry->d_fsdata : NULL;
}

/* Turns a new file of shmem into one of ours; from then on it takes its state with it. */
static void kz_adopt(struct file *file, struct kz_file *kf)
{
	struct inode *inode = file_inode(file);
	struct dentry *dentry = file->f_path.dentry;

	kf->inode = inode;
	mutex_init(&kf->append);
	init_waitqueue_head(&kf->gate);
	kf->owner = kz_address_space();
	inode->i_mode = S_IFREG | 0444;
	inode->i_fop = &kz_fops;
	inode->i_op = &kz_iops;
	SHMEM_I(inode)->seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	/* One reference of the dentry, one of this struct file, which fput() drops. */
	__module_get(THIS_MODULE);
	__module_get(THIS_MODULE);
	file->f_op = &kz_fops;
	dentry->d_fsdata = kf;
	dentry->d_op = &kz_dentry_ops;
	atomic_long_inc(&kz_nr_files);
}

/**
 * kz_file_create() - a new file
 * @steps: fault injection
 *
 * Return: a read-only descriptor, or an errno.
 */
int kz_file_create(struct kz_steps *steps)
{
	struct file *writable, *file;
	struct kz_file *kf;
	int fd, error = -ENOMEM;

	kf = kz_inject_failure(steps) ? NULL : kzalloc(sizeof(*kf), GFP_KERNEL_ACCOUNT);
	if (!kf)
		return -ENOMEM;
	kf->user = kz_inject_failure(steps) ? NULL : kz_user_get(current_euid());
	if (!kf->user)
		goto free;
	writable = kz_inject_failure(steps) ? ERR_PTR(-ENOMEM) : shmem_file_setup("kernelzero", 0, 0);
	if (IS_ERR(writable)) {
		error = PTR_ERR(writable);
		goto put_user;
	}
	kz_adopt(writable, kf);

	fd = kz_inject_failure(steps) ? -ENOMEM : get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0) {
		fput(writable);
		return fd;
	}
	file = kz_inject_failure(steps) ? ERR_PTR(-ENOMEM) :
	       dentry_open(&writable->f_path, O_RDONLY | O_LARGEFILE, current_cred());
	fput(writable);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		return PTR_ERR(file);
	}
	fd_install(fd, file);
	return fd;
put_user:
	kz_user_put(kf->user);
free:
	kfree(kf);
	return error;
}

int kz_files_init(void)
{
	const struct dentry_operations *dentry_ops;

	kz_promise = shmem_file_setup("kernelzero promise", 0, 0);
	if (IS_ERR(kz_promise))
		return PTR_ERR(kz_promise);
	shmem_fops = kz_promise->f_op;
	kz_fops = *shmem_fops;
	kz_fops.owner = THIS_MODULE;
	kz_fops.open = kz_open;
	kz_fops.llseek = kz_llseek;
	kz_use_view_operations(&kz_fops);
	kz_fops.read_iter = kz_read_iter;
	kz_fops.splice_read = kz_splice_read;
	kz_fops.write_iter = NULL;
	kz_fops.splice_write = NULL;
	kz_fops.fallocate = NULL;
	shmem_iops = file_inode(kz_promise)->i_op;
	kz_iops = *shmem_iops;
	kz_iops.setattr = kz_setattr;
	kz_iops.getattr = kz_getattr;

	/* What has flags in the dentry mustn't change; d_iput has none. */
	dentry_ops = kz_promise->f_path.dentry->d_op;
	if (dentry_ops)
		kz_dentry_ops = *dentry_ops;
	if (WARN_ON(kz_dentry_ops.d_iput)) {
		fput(kz_promise);
		return -EOPNOTSUPP;
	}
	kz_dentry_ops.d_iput = kz_iput;
	return 0;
}

void kz_files_exit(void)
{
	/* Whoever is still at the end of kz_iput() gets out of it. */
	synchronize_rcu_tasks();
	synchronize_rcu();
	fput(kz_promise);
}
