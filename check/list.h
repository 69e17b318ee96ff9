/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The checks of `holdfast device check`: one row each, in the order in which they run. What a row
 * does is the function check_FUNCTION() in cases-GROUP.c; docs/device-check.md is made from this.
 *
 * X(function, name, level, needs, source, sentence). The source is a part of the kernel's uAPI,
 * linux/vfio.h, unless it says otherwise; the sentence says in our words what holds by it.
 */
#ifndef CHECK_LIST_H
#define CHECK_LIST_H

/* clang-format off */
#define CHECK_LIST_INFO(X) \
	X(info_flags, "info.flags", MUST, 0, "vfio_device_feature_migration", \
	  "The flags have STOP_COPY, and P2P and PRE_COPY at most beside it.") \
	X(info_constant, "info.constant", MUST, 0, "vfio_device_info, vfio_device_feature_migration", \
	  "What a device is does not change while it is open.") \
	X(info_named, "info.named", SHOULD, 0, "struct hf_device_info (holdfast/backend.h)", \
	  "It has a kind, a name, and words that tell which devices can load its state.") \
	X(info_opens_running, "info.opens-running", MUST, 0, "enum vfio_device_mig_state", \
	  "RUNNING is the state in which a device is opened.") \
	X(info_reopens_running, "info.reopens-running", MUST, 0, "enum vfio_device_mig_state", \
	  "RUNNING is also the state after it was closed in any other one and opened again.") \
	X(info_state_known, "info.state-known", MUST, 0, "vfio_device_feature_mig_state", \
	  "In each state GET gives that state, a number of the enum.") \
	X(info_get_cheap, "info.get-cheap", INFO, 0, "vfio_device_feature_mig_state", \
	  "GET takes less than a millisecond, so that it can be asked before each step.") \
	X(info_data_size, "info.data-size-everywhere", SHOULD, SIZE, "vfio_device_feature_mig_data_size", \
	  "The size of the stream can be asked in every state.") \
	X(info_data_size_right, "info.data-size-right", SHOULD, SIZE, "vfio_device_feature_mig_data_size", \
	  "The estimate is at least nine tenths of what STOP_COPY then gives.") \
	X(info_regions, "info.regions", MUST, 0, "VFIO_DEVICE_GET_REGION_INFO", \
	  "Each region below the count is described; one at the count is refused.") \
	X(info_irqs, "info.irqs", MUST, 0, "VFIO_DEVICE_GET_IRQ_INFO", \
	  "An interrupt index at the count is refused.") \
	X(info_ids, "info.ids", MUST, CONFIG, "VFIO_PCI_CONFIG_REGION_INDEX", \
	  "The configuration space has the vendor and device that the device is known by.")

#define CHECK_LIST_ARC(X) \
	X(arc_legal, "arc.legal", MUST, 0, "enum vfio_device_mig_state", \
	  "Every change of state but STOP_COPY to PRE_COPY* is one SET, which succeeds and ends there.") \
	X(arc_same, "arc.same-state", MUST, 0, "vfio_device_feature_mig_state", \
	  "A SET to the current state succeeds and changes nothing.") \
	X(arc_same_session, "arc.same-state-keeps-session", MUST, 0, "vfio_device_feature_mig_state", \
	  "A SET to the current state does not disturb the stream that is being read.") \
	X(arc_error, "arc.error-refused", MUST, 0, "enum vfio_device_mig_state", \
	  "ERROR cannot be asked for: the SET fails and nothing changes.") \
	X(arc_unknown, "arc.unknown-refused", MUST, 0, "enum vfio_device_mig_state", \
	  "A number that is no state is refused, and nothing changes.") \
	X(arc_einval, "arc.refusal-is-einval", MUST, 0, "vfio_device_feature_mig_state", \
	  "What can never be asked for fails with EINVAL.") \
	X(arc_optional, "arc.optional-refused", MUST, LESS, "vfio_device_feature_migration", \
	  "States whose flag the device does not have are refused, and nothing changes.") \
	X(arc_refusal_session, "arc.refusal-keeps-session", MUST, 0, "vfio_device_feature_mig_state", \
	  "A SET that is refused does not disturb the stream that is being read.") \
	X(arc_blocked, "arc.stop-copy-to-pre-copy", MUST, PRE | DANGER, "enum vfio_device_mig_state", \
	  "STOP_COPY does not lead to PRE_COPY: EINVAL, and nothing changes.") \
	X(arc_blocked_p2p, "arc.stop-copy-to-pre-copy-p2p", MUST, PRE | P2P | DANGER, "enum vfio_device_mig_state", \
	  "STOP_COPY does not lead to PRE_COPY_P2P: EINVAL, and nothing changes.") \
	X(arc_walk, "arc.random-walk", MUST, 0, "enum vfio_device_mig_state", \
	  "A thousand legal SETs in any order all end where they were asked to.") \
	X(arc_cancel, "arc.pre-copy-cancelled", MUST, PRE | WORK, "VFIO_DEVICE_STATE_PRE_COPY", \
	  "After PRE_COPY was left for RUNNING the device works as before.") \
	X(arc_works, "arc.works-afterwards", MUST, WORK, "VFIO_DEVICE_STATE_RUNNING", \
	  "RUNNING is fully operational again after each other state but RESUMING.") \
	X(arc_stop_keeps, "arc.stop-keeps-registers", MUST, WORK, "VFIO_DEVICE_STATE_STOP", \
	  "STOP and back to RUNNING changes nothing of what the driver has in the device.") \
	X(arc_config, "arc.stop-keeps-config", SHOULD, CONFIG, "VFIO_DEVICE_STATE_STOP", \
	  "STOP and back to RUNNING leaves the configuration space as it was.") \
	X(arc_irqs, "arc.stop-keeps-interrupts", SHOULD, WORK | IRQ, "VFIO_DEVICE_SET_IRQS", \
	  "Eventfds that were set before STOP signal after it.") \
	X(arc_pending, "arc.stop-keeps-pending", MUST, PENDING | IRQ, "VFIO_DEVICE_STATE_STOP", \
	  "An interrupt that was due before STOP comes after it.") \
	X(arc_quiet_stop, "arc.quiet-in-stop", MUST, BEAT, "VFIO_DEVICE_STATE_STOP", \
	  "In STOP it writes no memory.") \
	X(arc_quiet_stop_copy, "arc.quiet-in-stop-copy", MUST, BEAT, "VFIO_DEVICE_STATE_STOP_COPY", \
	  "In STOP_COPY it writes no memory.") \
	X(arc_quiet_resuming, "arc.quiet-in-resuming", MUST, BEAT, "VFIO_DEVICE_STATE_RESUMING", \
	  "In RESUMING it writes no memory.") \
	X(arc_quiet_irqs, "arc.no-interrupts-stopped", MUST, BEAT | IRQ, "VFIO_DEVICE_STATE_STOP", \
	  "In STOP, STOP_COPY and RESUMING no interrupt is signalled.") \
	X(arc_access, "arc.access-stopped", MUST, 0, "VFIO_DEVICE_STATE_STOP", \
	  "Registers and configuration space may be accessed while it is stopped: it may fail, and harms nothing.") \
	X(arc_p2p_quiet, "arc.p2p-quiet", SHOULD, P2P | PEER, "VFIO_DEVICE_STATE_RUNNING_P2P", \
	  "In RUNNING_P2P and PRE_COPY_P2P it writes into no other device.") \
	X(arc_p2p_open, "arc.p2p-reachable", MUST, P2P | WORK, "VFIO_DEVICE_STATE_RUNNING_P2P", \
	  "In RUNNING_P2P it still takes what others write into its registers.") \
	X(arc_p2p_resumes, "arc.p2p-goes-on", MUST, P2P | PEER, "VFIO_DEVICE_STATE_RUNNING_P2P", \
	  "What it held back in RUNNING_P2P is done after RUNNING is reached.")

#define CHECK_LIST_SAVE(X) \
	X(save_something, "save.something", SHOULD, 0, "VFIO_DEVICE_STATE_STOP_COPY", \
	  "There is something to read in STOP_COPY.") \
	X(save_bounds, "save.read-bounds", MUST, 0, "VFIO_DEVICE_STATE_STOP_COPY, data_fd", \
	  "A read gives no more than was asked for.") \
	X(save_eof, "save.eof-repeats", MUST, 0, "VFIO_DEVICE_STATE_STOP_COPY, data_fd", \
	  "At the end of the stream read gives 0, each time.") \
	X(save_enomsg, "save.no-enomsg", MUST, 0, "VFIO_DEVICE_STATE_STOP_COPY, data_fd", \
	  "ENOMSG is not said in STOP_COPY, where every end is the end.") \
	X(save_split, "save.split", MUST, 0, "VFIO_DEVICE_STATE_STOP_COPY, data_fd", \
	  "However long the reads are, the bytes are the same.") \
	X(save_zero, "save.read-zero", SHOULD, 0, "read(2)", \
	  "A read of no bytes gives 0 and takes nothing out of the stream.") \
	X(save_same, "save.repeatable", SHOULD, 0, "VFIO_DEVICE_STATE_STOP_COPY", \
	  "Two saves with no running in between give the same bytes.") \
	X(save_ends_stop, "save.ends-at-stop", MUST, 0, "vfio_device_feature_mig_state, data_fd", \
	  "After STOP_COPY was left for STOP nothing can be read any more.") \
	X(save_ends_run, "save.ends-at-running", MUST, 0, "vfio_device_feature_mig_state, data_fd", \
	  "After STOP_COPY was left for RUNNING nothing can be read any more.") \
	X(save_ends_reset, "save.ends-at-reset", MUST, 0, "VFIO_DEVICE_RESET", \
	  "After a reset nothing can be read any more.") \
	X(save_fresh, "save.session-is-fresh", MUST, 0, "vfio_device_feature_mig_state, data_fd", \
	  "A save that was given up leaves nothing behind: the next one is whole.") \
	X(save_partial, "save.given-up-to-stop", MUST, 0, "VFIO_DEVICE_STATE_STOP", \
	  "STOP_COPY can be left for STOP before all was read.") \
	X(save_partial_run, "save.given-up-to-running", MUST, 0, "VFIO_DEVICE_STATE_RUNNING", \
	  "STOP_COPY can be left for RUNNING before all was read.") \
	X(save_stays, "save.stays", MUST, 0, "VFIO_DEVICE_STATE_STOP_COPY", \
	  "Reading to the end leaves the device in STOP_COPY.") \
	X(save_no_write, "save.no-writing", MUST, 0, "VFIO_DEVICE_STATE_STOP_COPY, data_fd", \
	  "What is being saved cannot be written to.") \
	X(save_harmless, "save.harmless", MUST, WORK, "VFIO_DEVICE_STATE_STOP_COPY", \
	  "A save and back to RUNNING changes nothing of what the driver has in the device.")

#define CHECK_LIST_PRECOPY(X) \
	X(pre_info, "precopy.info", MUST, PRE, "VFIO_MIG_GET_PRECOPY_INFO", \
	  "In PRE_COPY the device says how much there is to read.") \
	X(pre_info_p2p, "precopy.info-p2p", MUST, PRE | P2P, "VFIO_MIG_GET_PRECOPY_INFO", \
	  "In PRE_COPY_P2P it says so too.") \
	X(pre_info_late, "precopy.info-elsewhere", MUST, PRE, "VFIO_MIG_GET_PRECOPY_INFO", \
	  "In STOP_COPY, STOP and RUNNING the question is refused.") \
	X(pre_initial, "precopy.initial-bytes", MUST, PRE, "struct vfio_precopy_info", \
	  "The first answer has initial bytes.") \
	X(pre_falls, "precopy.initial-falls", MUST, PRE, "struct vfio_precopy_info", \
	  "Initial bytes fall as they are read, and are 0 at the end.") \
	X(pre_enomsg, "precopy.temporary-end", MUST, PRE, "VFIO_DEVICE_STATE_PRE_COPY, data_fd", \
	  "When there is nothing to read for now, read says ENOMSG.") \
	X(pre_end_again, "precopy.end-repeats", MUST, PRE, "VFIO_DEVICE_STATE_PRE_COPY, data_fd", \
	  "Asked again, it says the same, and it stays in PRE_COPY.") \
	X(pre_idle, "precopy.idle-converges", SHOULD, PRE, "struct vfio_precopy_info", \
	  "A device that does nothing comes to have nothing to read.") \
	X(pre_busy, "precopy.busy-shows", INFO, PRE | WORK, "struct vfio_precopy_info", \
	  "Work after the initial bytes were read makes bytes that are dirty.") \
	X(pre_works, "precopy.works", MUST, PRE | WORK, "VFIO_DEVICE_STATE_PRE_COPY", \
	  "In PRE_COPY the device works as in RUNNING.") \
	X(pre_unread, "precopy.nothing-read", MUST, PRE, "VFIO_DEVICE_STATE_PRE_COPY", \
	  "A stream of which nothing was read before STOP_COPY is whole.") \
	X(pre_partial, "precopy.some-read", MUST, PRE, "VFIO_DEVICE_STATE_PRE_COPY", \
	  "A stream of which a part was read before STOP_COPY is whole.") \
	X(pre_all, "precopy.all-read", MUST, PRE, "VFIO_DEVICE_STATE_PRE_COPY", \
	  "A stream of which all was read before STOP_COPY is whole.") \
	X(pre_switch, "precopy.p2p-keeps-session", MUST, PRE | P2P, "VFIO_DEVICE_STATE_PRE_COPY_P2P", \
	  "Going to PRE_COPY_P2P and back goes on with the same stream.") \
	X(pre_changes, "precopy.changes-travel", MUST, PRE | WORK, "VFIO_DEVICE_STATE_PRE_COPY", \
	  "What the device does while it is saved arrives.") \
	X(pre_less, "precopy.pays", INFO, PRE, "VFIO_DEVICE_STATE_PRE_COPY", \
	  "What was read in PRE_COPY need not be read in STOP_COPY.") \
	X(pre_again, "precopy.session-is-fresh", MUST, PRE, "VFIO_DEVICE_STATE_PRE_COPY", \
	  "After it was cancelled, PRE_COPY begins a stream that is whole.")

#define CHECK_LIST_LOAD(X) \
	X(load_identity, "load.identity", MUST, 0, "VFIO_DEVICE_STATE_RESUMING", \
	  "Saved, loaded into the device after a reset, and saved again: the same bytes.") \
	X(load_second, "load.second-device", MUST, SECOND, "VFIO_DEVICE_STATE_RESUMING", \
	  "Loaded into another device of the same kind, and saved there: the same bytes.") \
	X(load_split, "load.split", MUST, 0, "VFIO_DEVICE_STATE_RESUMING, data_fd", \
	  "However long the writes are, the load is the same.") \
	X(load_bounds, "load.write-bounds", MUST, 0, "VFIO_DEVICE_STATE_RESUMING, data_fd", \
	  "A write takes at least one byte, and no more than there were.") \
	X(load_cycles, "load.cycles", SHOULD, 0, "VFIO_DEVICE_STATE_RESUMING", \
	  "Forty times saved and loaded: no step fails, no byte changes.") \
	X(load_works, "load.works", MUST, WORK, "VFIO_DEVICE_STATE_RESUMING", \
	  "After a load the device runs, has what its driver left in it, and works.") \
	X(load_pending, "load.pending-interrupt", MUST, PENDING | IRQ, "VFIO_DEVICE_STATE_STOP_COPY", \
	  "An interrupt that was due at the save comes after the load.") \
	X(load_precopy, "load.precopy-equal", MUST, PRE, "VFIO_DEVICE_STATE_PRE_COPY", \
	  "A stream that was read in PRE_COPY too gives the same device.") \
	X(load_same, "load.same-state-keeps", MUST, 0, "vfio_device_feature_mig_state", \
	  "A SET to RESUMING in RESUMING keeps what was written.") \
	X(load_twice, "load.second-is-checked", SHOULD, 0, "VFIO_DEVICE_STATE_RESUMING", \
	  "A second load in one open is checked as the first one is.") \
	X(load_empty, "load.empty-refused", MUST, 0, "VFIO_DEVICE_STATE_RESUMING", \
	  "RESUMING cannot be left for STOP when nothing was written.") \
	X(load_failed, "load.failed-does-not-run", MUST, 0, "VFIO_DEVICE_STATE_RESUMING", \
	  "A load that fails leaves the device in RESUMING, STOP or ERROR, never running.") \
	X(load_recovers, "load.failed-recovers", MUST, 0, "VFIO_DEVICE_RESET", \
	  "After a load that failed, a reset and the right stream are loaded.") \
	X(load_abort, "load.aborted-by-reset", MUST, 0, "VFIO_DEVICE_RESET", \
	  "A reset ends RESUMING; a whole load then succeeds.") \
	X(load_late_write, "load.no-late-writing", MUST, 0, "vfio_device_feature_mig_state, data_fd", \
	  "After RESUMING was left nothing can be written any more.") \
	X(load_no_read, "load.no-reading", MUST, 0, "VFIO_DEVICE_STATE_RESUMING, data_fd", \
	  "What is being loaded cannot be read from.")

#define CHECK_LIST_HOSTILE(X) \
	X(hostile_truncated, "hostile.truncated", MUST, 0, "VFIO_DEVICE_STATE_RESUMING", \
	  "A stream without its end is refused, wherever it ends.") \
	X(hostile_appended, "hostile.appended", MUST, 0, "VFIO_DEVICE_STATE_RESUMING", \
	  "A stream with one byte more is refused.") \
	X(hostile_doubled, "hostile.doubled", MUST, 0, "VFIO_DEVICE_STATE_RESUMING", \
	  "A stream that comes twice is refused.") \
	X(hostile_header, "hostile.header-bits", MUST, 0, "VFIO_DEVICE_STATE_RESUMING", \
	  "A stream with one bit wrong among its first 64 is refused.") \
	X(hostile_body, "hostile.body-bits", SHOULD, 0, "VFIO_DEVICE_STATE_RESUMING", \
	  "A stream with one bit wrong anywhere is refused.") \
	X(hostile_swapped, "hostile.swapped", SHOULD, 0, "VFIO_DEVICE_STATE_RESUMING", \
	  "A stream with two of its parts in the wrong order is refused.") \
	X(hostile_omitted, "hostile.omitted", SHOULD, 0, "VFIO_DEVICE_STATE_RESUMING", \
	  "A stream with a part missing from its middle is refused.") \
	X(hostile_repeated, "hostile.repeated", SHOULD, 0, "VFIO_DEVICE_STATE_RESUMING", \
	  "A stream with a part of its middle twice is refused.") \
	X(hostile_zeros, "hostile.zeros", MUST, 0, "VFIO_DEVICE_STATE_RESUMING", \
	  "Zeros of the right length are refused.") \
	X(hostile_ones, "hostile.ones", MUST, 0, "VFIO_DEVICE_STATE_RESUMING", \
	  "Bytes 0xff of the right length are refused.") \
	X(hostile_random, "hostile.random", MUST, 0, "VFIO_DEVICE_STATE_RESUMING", \
	  "Random bytes of the right length are refused.") \
	X(hostile_latch, "hostile.error-latches", MUST, 0, "VFIO_DEVICE_STATE_RESUMING", \
	  "A load of which a write has failed cannot be finished by writing on.") \
	X(hostile_huge, "hostile.endless", SHOULD, 0, "VFIO_DEVICE_STATE_RESUMING", \
	  "A stream that does not end is refused within 64 MiB more than it should have.")

#define CHECK_LIST_RESET(X) \
	X(reset_everywhere, "reset.everywhere", MUST, 0, "VFIO_DEVICE_RESET", \
	  "A reset leads to RUNNING from each state.") \
	X(reset_twice, "reset.twice", MUST, 0, "VFIO_DEVICE_RESET", \
	  "A reset can follow a reset.") \
	X(reset_works, "reset.works", MUST, WORK, "VFIO_DEVICE_RESET", \
	  "After a reset the device works.") \
	X(reset_migrates, "reset.migrates", MUST, 0, "VFIO_DEVICE_RESET", \
	  "After a reset in each state the device can be saved and loaded.") \
	X(reset_clean, "reset.clean", MUST, WORK, "VFIO_DEVICE_RESET", \
	  "After a reset nothing is left of what the driver had in the device.") \
	X(reset_log, "reset.log-honest", SHOULD, LOG | DMA, "VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT", \
	  "After a reset the log is off and says so, or is complete.") \
	X(reset_advertised, "reset.advertised", SHOULD, 0, "VFIO_DEVICE_FLAGS_RESET", \
	  "A device that can be reset says that it can.")

#define CHECK_LIST_LOG(X) \
	X(log_all, "log.all-or-none", MUST, LOG, "VFIO_DEVICE_FEATURE_DMA_LOGGING_START", \
	  "A device that has logging starts, reports and stops it.") \
	X(log_none, "log.none-refused", MUST, NOLOG, "VFIO_DEVICE_FEATURE_DMA_LOGGING_START", \
	  "A device that has no logging refuses to start it.") \
	X(log_count, "log.start-count", MUST, LOG, "vfio_device_feature_dma_logging_control", \
	  "No ranges, or more than can be, are refused.") \
	X(log_aligned, "log.start-aligned", MUST, LOG, "vfio_device_feature_dma_logging_control", \
	  "A range that is not aligned to the page size is refused.") \
	X(log_overlap, "log.start-overlap", MUST, LOG, "vfio_device_feature_dma_logging_range", \
	  "Ranges that overlap are refused.") \
	X(log_wrap, "log.start-wrap", MUST, LOG, "vfio_device_feature_dma_logging_range", \
	  "A range beyond the end of addresses is refused.") \
	X(log_twice, "log.start-twice", MUST, LOG, "VFIO_DEVICE_FEATURE_DMA_LOGGING_START", \
	  "Logging that was started cannot be started again.") \
	X(log_restart, "log.restart", MUST, LOG, "VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP", \
	  "Logging that was stopped can be started again.") \
	X(log_many, "log.many-ranges", SHOULD, LOG, "vfio_device_feature_dma_logging_control", \
	  "Two hundred and fifty-six ranges can be logged.") \
	X(log_early, "log.report-early", MUST, LOG, "VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT", \
	  "A report before the start fails.") \
	X(log_late, "log.report-late", MUST, LOG, "VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT", \
	  "A report after the stop fails.") \
	X(log_page_size, "log.report-page-size", MUST, LOG, "vfio_device_feature_dma_logging_report", \
	  "A report by pages under 4 KiB, or of no power of two, is refused.") \
	X(log_complete, "log.complete", MUST, LOG | DMA, "vfio_device_feature_dma_logging_report", \
	  "Every page that the device wrote is in the report.") \
	X(log_precise, "log.precise", INFO, LOG | DMA, "vfio_device_feature_dma_logging_report", \
	  "Pages that it did not write are not.") \
	X(log_clears, "log.report-clears", MUST, LOG | DMA, "vfio_device_feature_dma_logging_report", \
	  "What was reported is not reported again.") \
	X(log_sets, "log.report-only-sets", MUST, LOG, "vfio_device_feature_dma_logging_report", \
	  "Bits that the caller has set stay set.") \
	X(log_parts, "log.parts", MUST, LOG | DMA, "vfio_device_feature_dma_logging_report", \
	  "Reports of parts have what the report of the whole would have.") \
	X(log_outside, "log.outside", MUST, LOG | DMA, "vfio_device_feature_dma_logging_report", \
	  "What is not being logged is not reported.") \
	X(log_guard, "log.bitmap-bounds", MUST, LOG | DMA, "vfio_device_feature_dma_logging_report", \
	  "Nothing is written before or behind the bitmap.") \
	X(log_sizes, "log.page-sizes", MUST, LOG | DMA, "vfio_device_feature_dma_logging_report", \
	  "A report by larger pages has the pages that hold what was written.") \
	X(log_stop, "log.across-stop", MUST, LOG | DMA, "VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT", \
	  "What was written up to STOP is in the report that is asked for in STOP_COPY.") \
	X(log_precopy, "log.across-pre-copy", MUST, LOG | DMA | PRE, "VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT", \
	  "Entering PRE_COPY loses nothing that was logged.") \
	X(log_reads, "log.reads-are-none", SHOULD, LOG | READ, "vfio_device_feature_dma_logging_report", \
	  "Memory that the device only read is not reported.")

#define CHECK_LIST_DMA(X) \
	X(dma_overlap, "dma.overlap", MUST, DMA, "VFIO_IOMMU_MAP_DMA", \
	  "A map over one that is there is refused.") \
	X(dma_aligned, "dma.aligned", MUST, DMA, "VFIO_IOMMU_MAP_DMA", \
	  "A map that is not aligned to pages is refused.") \
	X(dma_split, "dma.unmap-whole", MUST, DMA, "VFIO_IOMMU_UNMAP_DMA", \
	  "A part of a map cannot be unmapped.") \
	X(dma_unmap, "dma.unmap-ends", MUST, DMA, "VFIO_IOMMU_UNMAP_DMA", \
	  "After a map was taken away the device does not write there.")

#define CHECK_LIST_LIMITS(X) \
	X(limits_fds, "limits.descriptors", MUST, 0, "vfio_device_feature_mig_state, data_fd", \
	  "Twenty saves, loads and resets leave no descriptor open.") \
	X(limits_access, "limits.access-meanwhile", MUST, CONFIG, "VFIO_PCI_CONFIG_REGION_INDEX", \
	  "The configuration space can be read, within a second, while another thread saves and loads.")

#define CHECK_LIST(X) \
	CHECK_LIST_INFO(X) CHECK_LIST_ARC(X) CHECK_LIST_SAVE(X) CHECK_LIST_PRECOPY(X) \
	CHECK_LIST_LOAD(X) CHECK_LIST_HOSTILE(X) CHECK_LIST_RESET(X) CHECK_LIST_LOG(X) \
	CHECK_LIST_DMA(X) CHECK_LIST_LIMITS(X)
/* clang-format on */

#endif
