// A tmpfs that no process can reach by a path, seen through two mounts: one writable, one not.
//
// Made in a helper process with a mount namespace of its own (and, where that isn't permitted, a
// user namespace of its own first); the helper is gone when the call returns. Its two root
// directories stay as descriptors, and with them the file system: it ends with the last
// descriptor or mapping of anything in it. As the mounts' namespace is gone, nobody can remount
// or clone them any more, root included. Any thread.
#pragma once

#include <arrow/result.h>

#include "base/fd.h"

namespace zerrow::shm {

struct PrivateTmpfs {
  base::UniqueFd writable_dir;
  base::UniqueFd read_only_dir;
  bool huge = false;  // mounted with huge=advise
  bool in_user_namespace = false;
};

/// IOError with the step that failed.
arrow::Result<PrivateTmpfs> MountPrivateTmpfs();

}  // namespace zerrow::shm
