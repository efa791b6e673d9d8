#include "base/no_fork.h"

#include <pthread.h>

namespace zerrow::base {

namespace {

// One for the process, as fork() is.
constinit std::mutex forking;

// Before there are threads: one that is forked amid the first use would wait for the end of that.
[[maybe_unused]] const int kRegistered =
    ::pthread_atfork([] { forking.lock(); },  //
                     [] { forking.unlock(); }, [] { forking.unlock(); });

}  // namespace

NoFork::NoFork() : held_(forking) {}

}  // namespace zerrow::base
