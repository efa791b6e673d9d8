// Keeps the process from being forked for a moment.
//
// Some libraries (SQLite) have locks for the whole process. A child that is forked while another
// thread holds one waits for it for ever, as that thread doesn't exist there. While a NoFork lives,
// fork() waits, in whatever thread and library it is called; so hold it briefly, around the calls
// of such a library. posix_spawn, vfork and _Fork don't wait: what they make calls no library.
//
// Any thread, one NoFork at a time, and none within another. A thread that holds one must not fork.
#pragma once

#include <mutex>

namespace zerrow::base {

class [[nodiscard]] NoFork {
 public:
  NoFork();

 private:
  std::unique_lock<std::mutex> held_;
};

}  // namespace zerrow::base
