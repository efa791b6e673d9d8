// Asks the kernel whether any process still holds a file, whoever that may be.
//
// A lease (fcntl F_SETLEASE) is only given while nobody conflicts with it, counted over every
// open descriptor, mapping and message in flight on the machine. That makes it a proof where the
// engine's own bookkeeping (who is dead, who has closed what) is only a belief. Stateless, any
// thread. O_PATH descriptors don't count as holders.
#pragma once

#include <arrow/result.h>

#include "base/fd.h"

namespace zerrow::shm {

/// Opens the file behind a descriptor again, by /proc. `flags` as for open. IOError.
arrow::Result<base::UniqueFd> Reopen(int fd, int flags);

/// OK if no process can write to the file. `fd` is open for reading only. IOError: somebody has
/// it open for writing or mapped so.
arrow::Status CheckNoWriters(int fd);

/// OK if `fd`, open for writing, is the file's only use. IOError: somebody else has it open or
/// mapped.
arrow::Status CheckNoOtherUsers(int fd);

}  // namespace zerrow::shm
