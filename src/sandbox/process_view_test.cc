#include "sandbox/process_view.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <functional>

#include "base/child_process.h"

namespace zerrow::sandbox {
namespace {

TEST(ProcessView, SeesThisProcess) {
  const mode_t before = ::umask(0027);
  const auto view = ProcessView::Of(::getpid());
  ::umask(before);
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ(view->umask, 0027U);
  EXPECT_TRUE(view->namespaces.at("mnt").starts_with("mnt:["));
  EXPECT_FALSE(view->cpus.empty());
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  EXPECT_EQ(view->limits.at(RLIMIT_NOFILE).first, limit.rlim_cur);
  EXPECT_EQ(WhyElsewhere(*view, *view), "");
}

TEST(ProcessView, AChildCanBeStoodInFor) {
  base::ChildProcess::Options options;
  options.arguments = {"sleep", "1000"};
  options.environment = {"PATH=/usr/bin:/bin"};
  const auto child = base::ChildProcess::Spawn(options).ValueOrDie();
  const auto view = ProcessView::Of(child.pid());
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ(WhyElsewhere(*view, ProcessView::Of(::getpid()).ValueOrDie()), "");
}

TEST(ProcessView, OneThatIsNotThereIsAnError) {
  EXPECT_TRUE(ProcessView::Of(0).status().IsIOError());
  EXPECT_TRUE(ProcessView::Of(1 << 30).status().IsIOError());
}

ProcessView Somebody() {
  ProcessView view;
  view.namespaces = {{"mnt", "mnt:[1]"}, {"pid", "pid:[2]"}};
  view.root = {1, 2};
  view.status = {{"Uid", "1000\t1000\t1000\t1000"}, {"Groups", "4 24"}};
  view.memory_cgroup = "/cg/user/session";
  view.limits = {{RLIMIT_AS, {100, 200}}};
  return view;
}

TEST(ProcessView, WhatDiffersIsNamed) {
  const std::vector<std::pair<std::string, std::function<void(ProcessView&)>>> differences = {
      {"pid namespace", [](ProcessView& it) { it.namespaces["pid"] = "pid:[3]"; }},
      {"mnt namespace", [](ProcessView& it) { it.namespaces["mnt"] = ""; }},
      {"root folder", [](ProcessView& it) { it.root.second = 3; }},
      {"Groups", [](ProcessView& it) { it.status["Groups"] = "4"; }},
      {"/cg/user", [](ProcessView& it) { it.limited_cgroups = {"/cg/user/other"}; }},
      {"priority", [](ProcessView& it) { it.niceness = -1; }},
      {"resource limits", [](ProcessView& it) { it.limits[RLIMIT_AS].second = 201; }}};
  for (const auto& [word, change] : differences) {
    ProcessView client = Somebody();
    change(client);
    EXPECT_NE(WhyElsewhere(client, Somebody()).find(word), std::string::npos) << word;
  }
}

TEST(ProcessView, WhatAChildCanTakeOnDiffersNot) {
  ProcessView client = Somebody();
  client.umask = 077;
  client.niceness = 5;
  client.cpus = {1};
  client.limits[RLIMIT_AS] = {10, 20};
  client.memory_cgroup = "/cg/user/other";
  client.limited_cgroups = {"/cg/user", "/cg/user/session"};  // the engine is in both
  EXPECT_EQ(WhyElsewhere(client, Somebody()), "");
}

TEST(ProcessView, CgroupsWithLikeNamesAreNotWithinEachOther) {
  ProcessView client = Somebody();
  client.limited_cgroups = {"/cg/user/sess"};
  EXPECT_NE(WhyElsewhere(client, Somebody()), "");
}

ProcessView Root(const std::string& capabilities) {
  ProcessView engine = Somebody();
  engine.namespaces["user"] = "user:[4026531837]";
  engine.status["Uid"] = "0\t0\t0\t0";
  engine.status["CapEff"] = capabilities;
  return engine;
}

TEST(ProcessView, RootMayRaiseWhatItsCapabilitiesAllow) {
  const std::string all = "000001ffffffffff";
  const std::string no_nice = "000001ffff7fffff";
  const std::string no_resource = "000001fffeffffff";
  ProcessView urgent = Root(all);
  urgent.niceness = -5;
  ProcessView large = Root(all);
  large.limits[RLIMIT_AS].second = 1000;
  for (ProcessView client : {urgent, large}) {
    EXPECT_EQ(WhyElsewhere(client, Root(all)), "");
    client.status["CapEff"] = no_nice;
    EXPECT_EQ(WhyElsewhere(client, Root(no_nice)) == "", client.niceness == 0);
    client.status["CapEff"] = no_resource;
    EXPECT_EQ(WhyElsewhere(client, Root(no_resource)) == "", client.niceness != 0);
  }
}

TEST(ProcessView, CapabilitiesOfAUserNamespaceRaiseNothing) {
  ProcessView engine = Root("000001ffffffffff");
  engine.namespaces["user"] = "user:[4026532000]";
  ProcessView client = engine;
  client.niceness = -5;
  EXPECT_NE(WhyElsewhere(client, engine), "");
}

TEST(ProcessView, MemoryOfThisProcess) {
  EXPECT_GT(ProportionalBytes(::getpid()), 100'000);
  EXPECT_EQ(ProportionalBytes(1 << 30), 0);
}

}  // namespace
}  // namespace zerrow::sandbox
