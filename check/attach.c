/* SPDX-License-Identifier: BSD-3-Clause */
/* The device that is checked: opened, with memory and interrupts, and made fresh for each check. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check/run.h"

#define MSIX_INDEX 2u
#define MSI_INDEX 1u

bool check_irqs(struct check *c, bool connected)
{
	static const int none[CHECK_VECTORS] = { -1, -1, -1, -1 };
	uint32_t count = 0;

	for (uint32_t index = MSIX_INDEX; index >= MSI_INDEX; index--)
		if (OPS(c)->irq_count(SELF(c), index, &count) == 0 && count)
			return OPS(c)->irqs_set(SELF(c), index,
						count < CHECK_VECTORS ? count : CHECK_VECTORS,
						connected ? c->eventfds : none) == 0;
	return true; /* none to connect */
}

static bool map(struct check *c, uint64_t iova, uint64_t size, void *at, uint32_t flags)
{
	const bool peer = iova == CHECK_PEER_IOVA;
	int r = OPS(c)->dma_map(SELF(c), iova, size, at, c->memory, peer ? CHECK_RAM_SIZE : 0,
				flags);

	return r == 0 || r == -EEXIST; /* maps outlive a reset */
}

bool check_map(struct check *c)
{
	const uint32_t both = HF_DMA_READ | HF_DMA_WRITE;

	c->mapped = map(c, CHECK_RAM_IOVA, CHECK_RAM_SIZE, c->ram, both) &&
		    map(c, CHECK_PEER_IOVA, CHECK_PEER_SIZE, c->peer, both | HF_DMA_P2P);
	return check_irqs(c, true);
}

/* One memfd and one mapping of it: the memory, and behind it the peer's. All or nothing. */
static bool make_memory(struct check *c)
{
	int fd = memfd_create("holdfast-check", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	void *at = MAP_FAILED;
	int cause;

	/* Sealed: a served device is only given what its server cannot shorten. */
	if (fd >= 0 && ftruncate(fd, CHECK_MEMORY_SIZE) == 0 &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
		at = mmap(NULL, CHECK_MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED) {
		cause = errno;
		if (fd >= 0)
			(void)close(fd);
		errno = cause;
		return false;
	}
	c->memory = fd;
	c->ram = at;
	c->peer = c->ram + CHECK_RAM_SIZE;
	for (uint32_t v = 0; v < CHECK_VECTORS; v++)
		c->eventfds[v] = -1;
	return true;
}

static bool prepare(struct check *c)
{
	if (!c->ram && !make_memory(c))
		return false;
	for (uint32_t v = 0; v < CHECK_VECTORS; v++) {
		if (c->eventfds[v] < 0)
			c->eventfds[v] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (c->eventfds[v] < 0)
			return false;
	}
	return true;
}

bool check_attach(struct check *c, struct hf_error *err)
{
	if (!prepare(c)) {
		*err = (struct hf_error){ .code = HF_E_SYSTEM, .cause = errno };
		(void)snprintf(err->text, sizeof(err->text), "memory and eventfds for the check");
		return false;
	}
	if (hf_device_open(c->options.uri, NULL, &c->device, err) < 0)
		return false;
	(void)check_map(c); /* what it cannot, its checks notice */
	return true;
}

void check_memory_free(struct check *c)
{
	if (!c->ram)
		return;
	for (uint32_t v = 0; v < CHECK_VECTORS; v++)
		if (c->eventfds[v] >= 0)
			(void)close(c->eventfds[v]);
	(void)munmap(c->ram, CHECK_MEMORY_SIZE);
	(void)close(c->memory);
	c->ram = c->peer = NULL;
}

void check_detach(struct check *c)
{
	if (!c->device.ops)
		return;
	if (c->mapped) {
		(void)OPS(c)->dma_unmap(SELF(c), CHECK_RAM_IOVA, CHECK_RAM_SIZE);
		(void)OPS(c)->dma_unmap(SELF(c), CHECK_PEER_IOVA, CHECK_PEER_SIZE);
	}
	hf_device_close(&c->device);
}

static void drain_interrupts(struct check *c)
{
	uint64_t n;

	for (uint32_t v = 0; v < CHECK_VECTORS; v++)
		while (read(c->eventfds[v], &n, sizeof(n)) == sizeof(n))
			;
}

static bool runs(struct check *c)
{
	return check_state(c) == HF_DEVICE_RUNNING;
}

bool check_fresh(struct check *c)
{
	struct hf_error err = { 0 };

	if (c->device.ops) {
		(void)OPS(c)->dirty_stop(SELF(c)); /* if it was logging */
		if (OPS(c)->reset(SELF(c)) < 0 || !runs(c))
			check_detach(c);
	}
	if (!c->device.ops) {
		if (!check_attach(c, &err))
			return false;
		if (!runs(c) && (OPS(c)->reset(SELF(c)) < 0 || !runs(c)))
			return false;
	}
	(void)check_map(c);
	drain_interrupts(c);
	memset(c->ram, 0, CHECK_RAM_SIZE);
	memset(c->peer, 0, CHECK_PEER_SIZE);
	return true;
}
