#include "base/fd.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <thread>
#include <vector>

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

TEST(Memfd, PartsAreWrittenOneAfterTheOther) {
  std::string whole;
  std::vector<std::string> texts;
  for (int i = 0; i < 3000; ++i)
    texts.push_back(std::string(i % 100, static_cast<char>('a' + i % 26)));
  for (const std::string& text : texts) whole += text;
  UniqueFd fd = MakeMemfd("test").ValueOrDie();
  ASSERT_TRUE(WriteParts(fd.get(), {texts.begin(), texts.end()}).ok());
  ASSERT_TRUE(WriteParts(fd.get(), {}).ok());
  ASSERT_TRUE(WriteParts(fd.get(), {"", "end", ""}).ok());
  ASSERT_EQ(::lseek(fd.get(), 0, SEEK_SET), 0);
  EXPECT_EQ(ReadAll(fd.get(), 1 << 20).ValueOrDie(), whole + "end");
  EXPECT_TRUE(WriteParts(-1, {"a"}).IsIOError());
}

// A pipe takes only part of what is written at once.
TEST(Memfd, PartsOfWhichOnlySomeAreTakenAtOnce) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  const std::string a(300001, 'a'), b(77777, 'b'), c(123456, 'c');
  std::string got;
  std::thread reader([&] { got = ReadAll(read_end.get(), 1 << 20).ValueOrDie(); });
  const arrow::Status status = WriteParts(write_end.get(), {a, b, c});
  write_end.reset();
  reader.join();
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(got, a + b + c);
}

TEST(Memfd, FreshOneIsNotSealed) {
  UniqueFd fd = MakeMemfd("test", 4096).ValueOrDie();
  EXPECT_FALSE(IsSealed(fd.get()));
  EXPECT_EQ(FileSize(fd.get()).ValueOrDie(), 4096);
}

TEST(Memfd, SealedSizeIsOfWholeFilesOnly) {
  for (const size_t size : {size_t{0}, size_t{1}, size_t{4096}, size_t{3 << 20} + 1}) {
    UniqueFd whole = MakeSealedMemfd("test", std::string(size, '\0')).ValueOrDie();
    EXPECT_EQ(SealedSize(whole.get()).ValueOrDie(), static_cast<int64_t>(size));
  }
  UniqueFd open = MakeMemfd("test").ValueOrDie();
  ASSERT_TRUE(WriteAll(open.get(), "abc").ok());
  EXPECT_TRUE(SealedSize(open.get()).status().IsSerializationError());
  UniqueFd sparse = MakeMemfd("test", int64_t{1} << 40).ValueOrDie();
  ASSERT_TRUE(WriteAll(sparse.get(), std::string(4096, 'x')).ok());
  ASSERT_TRUE(SealMemfd(sparse.get()).ok());
  EXPECT_TRUE(SealedSize(sparse.get()).status().IsSerializationError());
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd read_end(ends[0]);
  const UniqueFd write_end(ends[1]);
  EXPECT_FALSE(SealedSize(read_end.get()).ok());
  EXPECT_FALSE(SealedSize(-1).ok());
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
