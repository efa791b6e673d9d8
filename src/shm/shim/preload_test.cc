#include "shm/shim/preload_test.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>

#include "shm/shim/test_broker.h"

namespace zerrow::shim {

namespace {

template <typename Function>
Function* Find(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_DEFAULT, name));
}

class StartShim : public ::testing::Environment {
 public:
  void SetUp() override {
    // Without this a test of the shim could pass by not testing it.
    const char* expected = std::getenv("LD_PRELOAD");
    ASSERT_EQ(Preloaded(), expected != nullptr);
    if (Preloaded()) {
      // Never destroyed: chunks are in use until the process ends.
      auto* broker = new TestBroker();
      ASSERT_EQ(Find<decltype(zerrow_shim_start)>("zerrow_shim_start")(broker->TakeSocket()), 0);
    }
  }
};

const auto* const kEnvironment = ::testing::AddGlobalTestEnvironment(new StartShim());

}  // namespace

bool Preloaded() { return Find<decltype(zerrow_shim_start)>("zerrow_shim_start") != nullptr; }

zerrow_shim_stats Stats() {
  zerrow_shim_stats stats = {};
  if (Preloaded()) Find<decltype(zerrow_shim_get_stats)>("zerrow_shim_get_stats")(&stats);
  return stats;
}

int Scale() {
  const char* text = std::getenv("ZERROW_TEST_SCALE");
  return text != nullptr ? std::max(1, std::atoi(text)) : 1;
}

bool ChildSucceeded(pid_t pid) {
  int status = -1;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return status == 0;
}

size_t Random::Size(size_t smallest, size_t largest) {
  const double exponent = static_cast<double>(Below(1 << 20)) / (1 << 20);
  const double ratio = static_cast<double>(largest) / static_cast<double>(smallest);
  return static_cast<size_t>(static_cast<double>(smallest) * std::pow(ratio, exponent));
}

}  // namespace zerrow::shim
