/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a session stands on: devices, guest memory, the machine (the VMM itself), channels, the
 * ledger. Each is a table of operations and a pointer; a VMM brings its machine, and either its own
 * tables for the rest or the ones the library ships (constructors at the end of each part).
 *
 * Rules for every table
 *  - const, complete (no member is NULL; what a backend cannot do points to a function that fails
 *    with -EOPNOTSUPP), its first member is its own size, and new members come last.
 *  - Operations are synchronous and may block; sessions call them on workers, one call at a time
 *    for each object unless the member says otherwise. They never call back into the session.
 *  - They return 0 or a count, or a negative errno (-ENODEV, -EBUSY, ...). The session judges once
 *    whose failure that is (error.h). Where a member takes a struct hf_error it may be NULL, and a
 *    negative HF_E_ code is returned.
 *  - Outputs (ret_) are written on success only.
 *  - A handle is a pair (ops, self), passed by value; whoever created the object closes it.
 */
#ifndef HOLDFAST_BACKEND_H
#define HOLDFAST_BACKEND_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include <holdfast/error.h>
#include <holdfast/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- devices ------------------------------------------------------------------------------- */

/* Flags of struct hf_device_info. */
#define HF_DEVICE_HAS_DATA_SIZE 1u /* data_size() answers (VFIO_DEVICE_FEATURE_MIG_DATA_SIZE) */
#define HF_DEVICE_HAS_DMA_LOGGING 2u /* dirty_*() work (VFIO_DEVICE_FEATURE_DMA_LOGGING_*) */
#define HF_DEVICE_HAS_RESET 4u /* reset() is advertised; it may be tried all the same */
/*
 * Where dirty_*() have it from, if not from the device: SHARED: what the IOMMU knows, of all the
 * devices that share an address space in it, told to the first of them that asks. ALL: nothing is
 * known, and every page is told that is mapped for writing, each time; rounds do not converge.
 */
#define HF_DEVICE_DIRTY_SHARED 8u
#define HF_DEVICE_DIRTY_ALL 16u
/* precopy_info() is a guess, by what was read so far: the device does not say. */
#define HF_DEVICE_GUESSES_PRECOPY 32u
/* HF_DMA_P2P tells it what is another device's. Others have to know by the address. */
#define HF_DEVICE_TAKES_P2P 64u

/* What a device is; does not change while it is open. */
struct hf_device_info {
	uint32_t mig_flags; /* HF_MIG_*; 0: cannot be migrated */
	uint32_t flags; /* HF_DEVICE_HAS_* */
	uint32_t region_count; /* VFIO PCI region indexes: BAR0..5 = 0..5, ROM 6, CONFIG 7 */
	uint32_t irq_count; /* VFIO PCI IRQ indexes: INTx 0, MSI 1, MSI-X 2, ERR 3, REQ 4 */
	uint16_t vendor_id, device_id, subsystem_vendor_id, subsystem_id;
	uint8_t revision;
	uint8_t reserved[7];
	char kind[16]; /* "sim", "vfio", "vfio-user" */
	char name[HF_NAME_MAX]; /* the one people know it by: "0000:17:00.1", "sim0" */
	char compat[HF_NAME_MAX]; /* the source's must equal the target's: model, driver, version */
};

#define HF_REGION_READ 1u
#define HF_REGION_WRITE 2u
#define HF_REGION_MMAP 4u /* all of it can be mapped */
#define HF_REGION_MMAP_AREAS 8u /* only its areas can */
#define HF_REGION_MSIX_MAPPABLE 16u /* mapping may include the page of the MSI-X table */

#define HF_REGION_AREAS_MAX 16 /* further ones are left out: slower, and right */

struct hf_region_area {
	uint64_t offset, size; /* bytes, in the region */
};

/* One region; VFIO_DEVICE_GET_REGION_INFO. */
struct hf_region_info {
	uint32_t flags; /* HF_REGION_* */
	int32_t mmap_fd; /* with HF_REGION_MMAP*: to map at mmap_offset; the device's */
	uint64_t size; /* bytes; 0: not implemented */
	uint64_t mmap_offset; /* of the region's first byte */
	uint32_t area_count; /* with HF_REGION_MMAP_AREAS */
	uint32_t reserved;
	struct hf_region_area areas[HF_REGION_AREAS_MAX];
};

#define HF_DMA_READ 1u /* the device may read */
#define HF_DMA_WRITE 2u /* the device may write */
#define HF_DMA_P2P 4u /* it is another device's BAR, not memory: off limits in the *_P2P states */

struct hf_dma_range {
	uint64_t iova, size; /* bytes, page-aligned */
};

/*
 * Memory that the device reaches by calls, since it cannot be mapped where the device is. All of
 * [iova, iova + size), or a negative errno, and then a part may have been done. Any thread of the
 * device's may call, and be kept waiting. size is up to the device.
 */
struct hf_dma_calls {
	uint32_t size; /* sizeof(struct hf_dma_calls) */
	uint32_t flags; /* reserved, 0 */
	void *ctx;
	int (*read)(void *ctx, uint64_t iova, void *buf, size_t size);
	int (*write)(void *ctx, uint64_t iova, const void *buf, size_t size);
};

/*
 * A device behind the VFIO uAPI (linux/vfio.h) or something that behaves like it.
 *
 * Called by two parties: the VMM (regions, interrupts, DMA maps; from any of its threads, also
 * while a migration operation blocks) and the session (migration; from one worker per device). A
 * backend must therefore be safe for one VMM thread per vCPU and one migration thread at once.
 */
struct hf_device_ops {
	uint32_t size;
	uint32_t flags; /* reserved, 0 */
	const char *kind;

	int (*info)(void *self, struct hf_device_info *ret_info);

	/* -- migration; one worker at a time ------------------------------------------------- */

	/* VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, GET. Cheap; works in every state. */
	int (*get_state)(void *self, uint32_t *ret_state);

	/*
	 * The same, SET. May take seconds. The backend keeps the data fd that the kernel returns
	 * and closes it when the saving group, or RESUMING, is left. After a failure the device may
	 * stand anywhere on the path: get_state() tells.
	 */
	int (*set_state)(void *self, uint32_t state);

	/*
	 * Read the device's state; in PRE_COPY, PRE_COPY_P2P and STOP_COPY. Returns 1..size, short
	 * reads are normal; 0 at the end (final in STOP_COPY, for now in PRE_COPY*); -ENOMSG is the
	 * same as 0 in PRE_COPY*. The buffer is the caller's.
	 */
	ssize_t (*read_data)(void *self, void *buf, size_t size);

	/*
	 * Write the device's state; in RESUMING. Returns 1..size. An error is final for this load.
	 */
	ssize_t (*write_data)(void *self, const void *buf, size_t size);

	/* VFIO_MIG_GET_PRECOPY_INFO; in PRE_COPY* only. Bytes. May be expensive. */
	int (*precopy_info)(void *self, uint64_t *ret_initial_bytes, uint64_t *ret_dirty_bytes);

	/* VFIO_DEVICE_FEATURE_MIG_DATA_SIZE: an estimate of the STOP_COPY stream, in bytes. */
	int (*data_size)(void *self, uint64_t *ret_bytes);

	/* VFIO_DEVICE_FEATURE_DMA_LOGGING_START, _REPORT, _STOP. */
	int (*dirty_start)(void *self, uint64_t page_size, const struct hf_dma_range *ranges,
			   uint32_t count);
	/*
	 * Sets (never clears) bit n of bitmap for page n from iova, and forgets what it reported.
	 */
	int (*dirty_read)(void *self, uint64_t iova, uint64_t length, uint64_t page_size,
			  uint64_t *bitmap);
	int (*dirty_stop)(void *self);

	/*
	 * VFIO_DEVICE_RESET: to RUNNING, from every state, ERROR included. What the guest had in
	 * the device is gone.
	 */
	int (*reset)(void *self);

	/* -- use; any thread of the VMM ------------------------------------------------------ */

	int (*region_info)(void *self, uint32_t index, struct hf_region_info *ret_info);
	/*
	 * All of size or an error; size is 1, 2, 4 or 8 for BARs, any for the configuration space.
	 */
	int (*region_read)(void *self, uint32_t index, uint64_t offset, void *buf, size_t size);
	int (*region_write)(void *self, uint32_t index, uint64_t offset, const void *buf,
			    size_t size);

	/* VFIO_DEVICE_GET_IRQ_INFO: how many vectors the index has. */
	int (*irq_count)(void *self, uint32_t index, uint32_t *ret_count);
	/*
	 * VFIO_DEVICE_SET_IRQS, TRIGGER with eventfds: vectors [0, count) of the index signal
	 * eventfds[i]; -1 leaves a vector without signal; count 0 disables the index. The eventfds
	 * stay the caller's, who keeps them open until they are replaced. INTx masks itself when it
	 * fires; with count 2 for it, eventfds[1] is the one by which the caller unmasks it.
	 */
	int (*irqs_set)(void *self, uint32_t index, uint32_t count, const int *eventfds);

	/*
	 * VFIO_IOMMU_MAP_DMA: the device may reach [iova, iova + size) at vaddr. fd (or -1) and
	 * fd_offset name the same memory for backends in another process. A backend may refuse
	 * HF_DMA_P2P though it takes memory (by iommufd the kernel does): then the device does not
	 * reach that peer, nothing else has changed, and dma_unmap() there succeeds.
	 */
	int (*dma_map)(void *self, uint64_t iova, uint64_t size, void *vaddr, int fd,
		       uint64_t fd_offset, uint32_t flags);
	int (*dma_unmap)(void *self, uint64_t iova, uint64_t size);

	/* The object is gone. Takes NULL. */
	void (*close)(void *self);

	/* -- a table that ends before these members has none of them ------------------------- */

	/*
	 * As dma_map(), of memory that is reached by calls. *calls is copied; what it points to
	 * lives until dma_unmap() has returned, after which nobody calls.
	 */
	int (*dma_map_calls)(void *self, uint64_t iova, uint64_t size,
			     const struct hf_dma_calls *calls, uint32_t flags);
	/*
	 * What the device has to say beyond the errno of its last failure, in words: why a server
	 * was lost. "" if nothing. Any thread.
	 */
	void (*why)(void *self, char *ret_text, size_t size);
};

struct hf_device {
	const struct hf_device_ops *ops;
	void *self;
};

/*
 * Open a device by its URI:
 *
 *   sim[:KEY=VALUE[,KEY=VALUE...]]  the simulated device (docs/sim-device.md has the keys)
 *   vfio:ADDRESS[,KEY=VALUE...]     a device behind the kernel's VFIO, a PCI address or an mdev's
 *                                   UUID (docs/vfio.md); "vfio=" is the same
 *   vfio-user:SOCKET[,KEY=VALUE...] a device of another process (docs/vfio-user.md)
 *
 * name (or NULL) is what people and messages call it. On success *ret_device is the caller's, who
 * closes it by hf_device_close() when no session uses it any more. Errors: HF_E_INVALID names the
 * key or the address, HF_E_UNSUPPORTED the kind or what this host lacks for it, HF_E_SYSTEM the
 * step that failed, HF_E_DEVICE_STATE a device that does not run.
 */
int hf_device_open(const char *uri, const char *name, struct hf_device *ret_device,
		   struct hf_error *err);

/*
 * What the opener of a kernel device may have to do between its file and itself. Some drivers want
 * to know the KVM that their device belongs to (KVM_DEV_TYPE_VFIO, KVM_DEV_VFIO_FILE_ADD; before
 * Linux 6.6 only GROUP_ADD, by the same numbers), and take it only before they open the device.
 */
struct hf_device_host {
	uint32_t size; /* sizeof(struct hf_device_host) */
	uint32_t flags; /* reserved, 0 */
	void *ctx;
	/*
	 * fd is the file behind the device, its IOMMU group's or its own node's: open, while the
	 * device is not. It stays the backend's, which closes it at some time after the device;
	 * whoever wants it longer than this call lasts keeps a duplicate. Devices of one group have
	 * one file, and each of them tells it. 0, or an HF_E_ code with its text in err, and then
	 * the device is not opened. It opens and closes no devices itself.
	 */
	int (*file)(void *ctx, int fd, struct hf_error *err);
};

/*
 * As hf_device_open(), which is this without a host (NULL). Devices that have no file of the
 * kernel's, such as simulated ones, tell none.
 */
int hf_device_open_for(const struct hf_device_host *host, const char *uri, const char *name,
		       struct hf_device *ret_device, struct hf_error *err);

/* Close a device, and *device is empty afterwards. An empty one is fine. */
void hf_device_close(struct hf_device *device);

/* ---- guest memory -------------------------------------------------------------------------- */

/* A piece of guest memory: [gpa, gpa + size), mapped at host, backed by fd at fd_offset. */
struct hf_memory_region {
	uint64_t gpa, size; /* bytes, page-aligned; regions ascend and do not overlap */
	void *host;
	int32_t fd; /* memfd, or -1 */
	uint32_t flags; /* reserved, 0 */
	uint64_t fd_offset;
	char name[HF_NAME_MAX];
};

/*
 * Who says which pages the vCPUs have written. (What devices write by DMA, the devices say.)
 * One worker calls, one call at a time. region is the index into the session's regions.
 */
struct hf_memory_ops {
	uint32_t size;
	uint32_t flags;
	const char *kind; /* "kvm-ring", "kvm-log", "userfault" */

	/* From now on every write is noticed. All pages count as clean. */
	int (*dirty_start)(void *self);
	/*
	 * Once per round, before dirty_read() of each region: what was written since the last
	 * dirty_sync() becomes readable, and tracking of it is armed anew. Also after the vCPUs
	 * have stopped, for the last time.
	 */
	int (*dirty_sync)(void *self);
	/* OR what the last dirty_sync() found in a region into bitmap (bit n: page n of it). */
	int (*dirty_read)(void *self, uint32_t region, uint64_t *bitmap);
	int (*dirty_stop)(void *self);
	void (*close)(void *self);
};

struct hf_memory {
	const struct hf_memory_ops *ops;
	void *self;
};

/* One KVM memory slot that holds guest memory. */
struct hf_kvm_slot {
	uint32_t slot; /* as in KVM_SET_USER_MEMORY_REGION */
	uint32_t region; /* index of the region it lies in */
	uint64_t region_offset; /* bytes from the region's beginning */
	uint64_t gpa, size;
	void *host;
};

/* The VM that the KVM sources track. fds stay the caller's; slots and vcpu_fds are copied. */
struct hf_kvm_vm {
	int32_t kvm_fd, vm_fd;
	const int *vcpu_fds;
	uint32_t vcpu_count;
	uint32_t slot_count;
	const struct hf_kvm_slot *slots;
	uint32_t ring_bytes; /* of each vCPU's dirty ring, as given to KVM_ENABLE_CAP; 0: no ring */
	uint32_t reserved;
};

/*
 * KVM's dirty ring (KVM_CAP_DIRTY_LOG_RING, enabled by the caller before its vCPUs were created).
 * A vCPU that leaves KVM_RUN with KVM_EXIT_DIRTY_RING_FULL calls hf_memory_kvm_ring_full(), which
 * harvests, and runs again.
 */
int hf_memory_kvm_ring(const struct hf_kvm_vm *vm, struct hf_memory *ret_memory,
		       struct hf_error *err);
int hf_memory_kvm_ring_full(struct hf_memory *memory);

/* KVM's dirty log (KVM_MEM_LOG_DIRTY_PAGES, KVM_GET_DIRTY_LOG), where the ring is missing. */
int hf_memory_kvm_log(const struct hf_kvm_vm *vm, struct hf_memory *ret_memory,
		      struct hf_error *err);

/* userfaultfd write-protect, for guests that are threads of this process. */
int hf_memory_userfault(const struct hf_memory_region *regions, uint32_t count,
			struct hf_memory *ret_memory, struct hf_error *err);

/* Close it, and *memory is empty afterwards. An empty one is fine. */
void hf_memory_close(struct hf_memory *memory);

/* ---- the machine --------------------------------------------------------------------------- */

/* One section of vCPU or platform state. What is in it is the VMM's business. */
struct hf_state_section {
	char name[32]; /* "vcpu", "ioapic", "clock", ...; NUL-terminated */
	uint32_t instance; /* which of several: the vCPU's number */
	uint32_t version; /* of the section's layout */
	uint32_t length; /* bytes used in the buffer */
	uint32_t reserved;
};

#define HF_STATE_SECTION_MAX (64u << 10) /* bytes in one section */
#define HF_MACHINE_SHAPE_MAX (64u << 10) /* bytes of a description */
#define HF_DEVICE_CONFIG_MAX (64u << 10) /* bytes of one device's configuration */

/*
 * The VMM. One worker calls (never the one that runs vCPUs), one call at a time; all may block.
 * Functions that take err return a negative HF_E_ code and say in words what is wrong.
 */
struct hf_machine_ops {
	uint32_t size;
	uint32_t flags;

	/*
	 * What must fit on both sides, in the VMM's own layout: vCPUs, CPU features, TSC, chipset.
	 * The source sends it before the guest is touched; the target's check() compares it with
	 * its own machine and names what does not fit. Memory and devices the session compares.
	 */
	int (*describe)(void *self, void *buf, uint32_t capacity, uint32_t *ret_length,
			struct hf_error *err);
	int (*check)(void *self, const void *shape, uint32_t length, struct hf_error *err);

	/* The vCPUs stop: no guest instruction runs after the return. Idempotent. */
	int (*stop)(void *self, struct hf_error *err);
	/* The vCPUs run. After a failure none has run. */
	int (*run)(void *self, struct hf_error *err);

	/* Keep each vCPU off the CPU for percent (0..99) of the time. */
	int (*throttle)(void *self, uint32_t percent, struct hf_error *err);

	/*
	 * The vCPUs' and the platform's state, section by section: index counts from 0 until
	 * HF_STATE_END is returned. Called with the vCPUs stopped.
	 */
	int (*state_save)(void *self, uint32_t index, struct hf_state_section *ret_section,
			  void *buf, uint32_t capacity, struct hf_error *err);
	int (*state_load)(void *self, const struct hf_state_section *section, const void *buf,
			  struct hf_error *err);
	/* After the last state_load(): all that was expected has come, and it is set. */
	int (*state_check)(void *self, struct hf_error *err);

	/*
	 * What travels beside device's own stream: configuration space, MSI and MSI-X state,
	 * pending interrupts. Saved when the device stands in STOP_COPY, set when it stands in
	 * STOP.
	 */
	int (*device_save)(void *self, uint32_t device, void *buf, uint32_t capacity,
			   uint32_t *ret_length, struct hf_error *err);
	int (*device_load)(void *self, uint32_t device, const void *buf, uint32_t length,
			   struct hf_error *err);
};

#define HF_STATE_END 1 /* state_save(): there is no section with this index */

struct hf_machine {
	const struct hf_machine_ops *ops;
	void *self;
};

/* ---- the ledger ---------------------------------------------------------------------------- */

enum hf_ledger_state {
	HF_LEDGER_HOME = 1, /* the owner runs it, or may */
	HF_LEDGER_OFFERED = 2, /* the owner offered it to offered_to, who may claim it */
	HF_LEDGER_CLAIMED = 3, /* offered_to took it and has not started it yet */
	HF_LEDGER_AWAY = 4, /* offered_to started it, and is the owner now */
};

#define HF_LEDGER_REASON_MAX HF_ERROR_TEXT_MAX

/* One guest's record. Times, leases and lifetimes decide nothing, and are not in it. */
struct hf_ledger_record {
	char guest[HF_NAME_MAX];
	uint64_t revision; /* changes with every write; what swap() compares; 0: no record */
	uint64_t epoch; /* counts offers */
	uint32_t state; /* enum hf_ledger_state */
	int32_t reason_code; /* HF_E_ code of the last failure, 0 if none */
	char owner[HF_NAME_MAX]; /* the side that may run it: a session's side id */
	char offered_to[HF_NAME_MAX]; /* with OFFERED, CLAIMED, AWAY */
	char attempt[HF_NAME_MAX]; /* who wrote this revision: an id of its own for each attempt */
	char reason[HF_LEDGER_REASON_MAX]; /* the last failure, in words; "" if none */
};

/* The answers of swap(). An error return of read() or swap() is the same as unknown. */
#define HF_LEDGER_DONE 0
#define HF_LEDGER_REFUSED 1 /* the revision is another one: *ret_now is the record as it stands */
#define HF_LEDGER_UNKNOWN 2 /* it may or may not have happened, or may yet happen: read again */

/*
 * Where records live. What the operations offer, claim, started, return and revoke make of a record
 * is decided elsewhere (lib/core/ledger.c), once for all kinds; a kind only reads and swaps.
 */
struct hf_ledger_ops {
	uint32_t size;
	uint32_t flags;
	const char *kind; /* "file", "etcd", "memory", "none" */

	/* The guest's record; one with revision 0 if there is none. */
	int (*read)(void *self, const char *guest, struct hf_ledger_record *ret_record,
		    struct hf_error *err);
	/*
	 * Write record if the one there still has record->revision (0: none there). The new
	 * revision is the ledger's, and in *ret_now. Durable before it is DONE. One atomic step for
	 * all readers and writers, in every process and on every host.
	 */
	int (*swap)(void *self, const struct hf_ledger_record *record,
		    struct hf_ledger_record *ret_now, struct hf_error *err);
	void (*close)(void *self);
	/*
	 * Tell each record, by the order of the guests' names; each() does not call the ledger. A
	 * record that cannot be read is left out, and then the first of them is the error
	 * (HF_E_LEDGER_DAMAGED), after all others were told. For operators: what is written while
	 * the list is made may be in it or not. A table that ends before this member has no list.
	 */
	int (*list)(void *self, void (*each)(void *ctx, const struct hf_ledger_record *record),
		    void *ctx, struct hf_error *err);
};

struct hf_ledger {
	const struct hf_ledger_ops *ops;
	void *self;
	char uri[HF_URI_MAX]; /* in its one normal form: equal ledgers have equal text */
};

/*
 * Open a ledger by its URI:
 *
 *   file:DIR                  a folder (absolute), on one host or on a shared file system
 *   etcd:URL[,URL...][?OPTION=VALUE[&...]]   etcd 3.4 or later; URL is http(s)://HOST[:PORT]
 *   memory:NAME               this process only; for tests
 *   none                      the absence of one
 *
 * Options of etcd: prefix (of the keys; "holdfast"), cacert, cert, key (of TLS; files), user and
 * password-file. Its normal form has the endpoints in order, each with its port (2379 if none is
 * given), and the prefix if it is another one; how this host proves who it is, is not in it.
 * Opening it asks nobody. Errors: HF_E_INVALID names what is wrong, HF_E_UNSUPPORTED the kind.
 */
int hf_ledger_open(const char *uri, struct hf_ledger *ret_ledger, struct hf_error *err);
void hf_ledger_close(struct hf_ledger *ledger);

/*
 * For tools: one guest's record (revision 0: there is none), or all of them. Not on a handle that a
 * session uses. Errors: HF_E_INVALID (the name), HF_E_LEDGER_UNKNOWN, HF_E_LEDGER_DAMAGED,
 * HF_E_UNSUPPORTED; hf_ledger_list() has told all that can be read before it says DAMAGED.
 */
int hf_ledger_read(struct hf_ledger *ledger, const char *guest, struct hf_ledger_record *ret_record,
		   struct hf_error *err);
int hf_ledger_list(struct hf_ledger *ledger,
		   void (*each)(void *ctx, const struct hf_ledger_record *record), void *ctx,
		   struct hf_error *err);

/* ---- channels ------------------------------------------------------------------------------ */

/*
 * A connection. One thread sends and one thread receives at any time; shutdown() may come from
 * any thread and makes both return. deadline_ns is on CLOCK_MONOTONIC, 0: none.
 */
struct hf_channel_ops {
	uint32_t size;
	uint32_t flags;
	const char *kind;

	/* All bytes, or an error (-ETIMEDOUT, -EPIPE, -ECONNRESET, ...). May change iov. */
	int (*sendv)(void *self, struct iovec *iov, uint32_t count, uint64_t deadline_ns);
	/* 1..n bytes; 0: the peer closed. */
	ssize_t (*recvv)(void *self, struct iovec *iov, uint32_t count, uint64_t deadline_ns);
	/* For poll(): readable when recvv() would not block. The channel's. */
	int (*fd)(void *self);
	void (*shutdown)(void *self);
	void (*close)(void *self);
	/* Nothing more is sent, and the peer will see that; what it sends can still be received. */
	void (*finish)(void *self);
};

struct hf_channel {
	const struct hf_channel_ops *ops;
	void *self;
};

/* ---- filters ------------------------------------------------------------------------------- */

/*
 * Put a filter in front of something, by its specification (holdfast-filters(7)):
 *
 *   fault:OBJECT.OP[=STATE]:N[:ACTION...]   the N-th matching call of OP fails (N+: this one and
 *                                           all later ones; *: all)
 *   delay:OBJECT.OP[=STATE]:MILLISECONDS    each matching call of OP is late
 *
 * OBJECT is "device" or "device[I]" (I counts from 0), "channel", "channel[control]",
 * "channel[bulk]", "channel[I]", "ledger", "memory", "machine". OP is the member's name (send and
 * recv for channels). Calls are counted from 1, for each object on its own.
 * The library keeps the set; hf_filters_device() and its siblings put the wrapper into *object, or
 * leave it as it is if no filter names it. The wrapper then owns the wrapped; a machine has no
 * close(), so its wrapper lives as long as the set. Add all filters first. Any thread may call the
 * wrapped objects, as their tables say.
 */
struct hf_filters;

/* An empty set. Errors: HF_E_NO_MEMORY. */
int hf_filters_new(struct hf_filters **ret_filters, struct hf_error *err);
/* One more filter. Errors: HF_E_INVALID names the part of spec that is wrong. */
int hf_filters_add(struct hf_filters *filters, const char *spec, struct hf_error *err);

/* Wrap an object. index counts the guest's devices from 0. */
int hf_filters_device(struct hf_filters *filters, uint32_t index, struct hf_device *device,
		      struct hf_error *err);
/* kind is "control" or "bulk"; index counts all connections of a session, the control one is 0. */
int hf_filters_channel(struct hf_filters *filters, struct hf_channel *channel, const char *kind,
		       uint32_t index, struct hf_error *err);
int hf_filters_ledger(struct hf_filters *filters, struct hf_ledger *ledger, struct hf_error *err);
int hf_filters_memory(struct hf_filters *filters, struct hf_memory *memory, struct hf_error *err);
int hf_filters_machine(struct hf_filters *filters, struct hf_machine *machine,
		       struct hf_error *err);
struct hf_filters *hf_filters_free(struct hf_filters *filters); /* after all that it wrapped */

#ifdef __cplusplus
}
#endif

#endif
