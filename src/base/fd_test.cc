#include "base/fd.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <string>

namespace zerrow::base {
namespace {

TEST(UniqueFd, ClosesWhatItOwnsOnceOnly) {
  UniqueFd first = MakeMemfd("test").ValueOrDie();
  const int raw = first.get();
  UniqueFd second = std::move(first);
  EXPECT_FALSE(first.valid());
  EXPECT_EQ(second.get(), raw);
  second.reset();
  EXPECT_EQ(::fcntl(raw, F_GETFD), -1);
}

TEST(ErrnoStatus, SaysTheLimitOfOpenFiles) {
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_EQ(ErrnoStatus(EPERM, "trying").message(), "trying: Operation not permitted");
  const std::string text = ErrnoStatus(EMFILE, "trying").message();
  EXPECT_NE(text.find("no more than " + std::to_string(limit.rlim_cur)), std::string::npos) << text;
}

TEST(Memfd, SealedOneCannotBeWrittenOrResized) {
  UniqueFd fd = MakeSealedMemfd("test", "abc").ValueOrDie();
  EXPECT_TRUE(IsSealed(fd.get()));
  EXPECT_EQ(FileSize(fd.get()).ValueOrDie(), 3);
  EXPECT_EQ(::pwrite(fd.get(), "x", 1, 0), -1);
  EXPECT_EQ(::ftruncate(fd.get(), 1), -1);
}

TEST(Memfd, FreshOneIsNotSealed) {
  UniqueFd fd = MakeMemfd("test", 4096).ValueOrDie();
  EXPECT_FALSE(IsSealed(fd.get()));
  EXPECT_EQ(FileSize(fd.get()).ValueOrDie(), 4096);
}

TEST(ReadAll, StopsAtItsLimit) {
  UniqueFd fd = MakeMemfd("test").ValueOrDie();
  ASSERT_TRUE(WriteAll(fd.get(), "0123456789").ok());
  ::lseek(fd.get(), 0, SEEK_SET);
  EXPECT_EQ(ReadAll(fd.get(), 10).ValueOrDie(), "0123456789");
  ::lseek(fd.get(), 0, SEEK_SET);
  EXPECT_TRUE(ReadAll(fd.get(), 9).status().IsCapacityError());
}

}  // namespace
}  // namespace zerrow::base
