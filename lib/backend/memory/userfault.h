/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * userfaultfd write-protect: shared by the two ways to use it. The kernel's numbers and structs
 * (linux/userfaultfd.h, linux/fs.h of 6.7) are here, since build hosts' headers are older.
 */
#ifndef BACKEND_MEMORY_USERFAULT_H
#define BACKEND_MEMORY_USERFAULT_H

#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>

#include <holdfast/backend.h>

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif
#define FEATURE_WP (1ull << 0) /* UFFD_FEATURE_PAGEFAULT_FLAG_WP */
#define FEATURE_WP_SHMEM (1ull << 12) /* UFFD_FEATURE_WP_HUGETLBFS_SHMEM, 5.19 */
#define FEATURE_WP_UNPOPULATED (1ull << 13) /* UFFD_FEATURE_WP_UNPOPULATED, 6.4 */
#define FEATURE_WP_ASYNC (1ull << 15) /* UFFD_FEATURE_WP_ASYNC, 6.7 */

/* PAGEMAP_SCAN (Documentation/admin-guide/mm/pagemap.rst). */
struct scan_range {
	uint64_t start, end, categories;
};

struct scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define SCAN_IOCTL _IOWR('f', 16, struct scan_arg)
#define SCAN_WP_MATCHING (1ull << 0)
#define SCAN_CHECK_WPASYNC (1ull << 1)
#define SCAN_IS_WRITTEN (1ull << 1)

/* What a userfaultfd is asked to do here. */
enum userfault_mode {
	USERFAULT_BEST = 0, /* ASYNC where the kernel can, else THREAD */
	USERFAULT_ASYNC = 1, /* the kernel lets writes pass and remembers them: PAGEMAP_SCAN */
	USERFAULT_THREAD = 2, /* each first write to a page waits for a thread of ours */
};

struct userfault_region {
	uint64_t start, pages;
	uint64_t *pending; /* found since the last sync */
	uint64_t *found; /* what the last sync found */
};

/*
 * One worker calls; with THREAD, lock guards pending, and that a page is in it and unprotected, or
 * not in it and protected.
 */
struct userfault {
	enum userfault_mode mode;
	bool tracking;
	int fd;
	int pagemap_fd; /* ASYNC */
	int stop_fd; /* THREAD: an eventfd that ends it */
	uint64_t features;
	uint32_t count;
	struct userfault_region regions[HF_REGIONS_MAX];
	struct scan_range *ranges; /* ASYNC: the scan's answers */
	pthread_mutex_t lock;
	pthread_t thread;
	int failure; /* THREAD: a negative errno that ended it; under lock */
};

/* hf_memory_userfault() in a given mode, for tests. */
int memory_userfault_open(const struct hf_memory_region *regions, uint32_t count,
			  enum userfault_mode mode, struct hf_memory *ret_memory,
			  struct hf_error *err);

/* Protect (or not) count pages of a region from first on. -errno. */
int userfault_protect(const struct userfault *uf, const struct userfault_region *region,
		      uint64_t first, uint64_t count, bool on);

/* What was pending is found. */
void userfault_publish(struct userfault *uf);

/* userfault-thread.c: the fault handler. */
int userfault_thread_start(struct userfault *uf);
int userfault_thread_sync(struct userfault *uf);
void userfault_thread_stop(struct userfault *uf);

#endif
