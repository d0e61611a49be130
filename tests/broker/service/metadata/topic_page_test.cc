#include "broker/service/metadata/topic_page.h"

#include <set>
#include <string>

#include <gtest/gtest.h>

#include "millrace/v1/metadata_service.pb.h"

namespace millrace::broker {
namespace {

void AddTopic(const std::string& name, Image* image) {
  internal::v1::ControllerRecord record;
  auto& created = *record.mutable_topic_created();
  created.set_topic_id(image->next_topic_id().value());
  created.set_name(name);
  created.set_kind(internal::v1::TopicCreated::KIND_PARTITION_LOG);
  created.set_leader_epoch_base(image->EpochEndOf(name) + 1);
  auto& partition = *created.add_partitions();
  partition.set_group_id(image->next_group_id().value());
  auto& replica = *partition.add_replicas();
  replica.set_broker_id(1);
  replica.set_number(1);
  EXPECT_TRUE(image->Apply(record).ok());
}

void RemoveTopic(const std::string& name, Image* image) {
  internal::v1::ControllerRecord record;
  record.mutable_topic_deleted()->set_topic_id(image->FindTopic(name)->id.value());
  record.mutable_topic_deleted()->set_epoch_end(image->FindTopic(name)->leader_epoch_base);
  EXPECT_TRUE(image->Apply(record).ok());
}

v1::ListTopicsResponse PageOf(const Image& image, const std::string& token, uint32_t page_size) {
  v1::ListTopicsResponse page;
  FillPage(
      TopicsAfter(image, token, false), page_size,
      [](const TopicInfo& topic, v1::ListedTopic* out) {
        out->set_name(topic.name);
        out->set_topic_id(topic.id.value());
      },
      &page);
  return page;
}

std::string NamesOf(const v1::ListTopicsResponse& page) {
  std::string names;
  for (const v1::ListedTopic& topic : page.topics()) names += topic.name() + " ";
  return names + "then " + page.next_page_token();
}

TEST(TopicPage, HasSoManyTopicsAtMost_AndATokenWhileThereAreMore) {
  Image image;
  for (const char* name : {"d", "b", "a", "c", "e"}) AddTopic(name, &image);
  EXPECT_EQ(NamesOf(PageOf(image, "", 2)), "a b then b");
  EXPECT_EQ(NamesOf(PageOf(image, "b", 2)), "c d then d");
  EXPECT_EQ(NamesOf(PageOf(image, "d", 2)), "e then ");
  EXPECT_EQ(NamesOf(PageOf(image, "", 5)), "a b c d e then ");
  EXPECT_EQ(NamesOf(PageOf(image, "", 0)), "a b c d e then ");
  EXPECT_EQ(NamesOf(PageOf(image, "e", 0)), "then ");
}

TEST(TopicPage, ATopicThatComesOrGoesBetweenPages_MovesNoOther) {
  Image image;
  for (const char* name : {"a", "b", "d", "e"}) AddTopic(name, &image);
  EXPECT_EQ(NamesOf(PageOf(image, "", 2)), "a b then b");
  RemoveTopic("b", &image);
  AddTopic("aa", &image);
  AddTopic("c", &image);
  EXPECT_EQ(NamesOf(PageOf(image, "b", 2)), "c d then d");
}

TEST(TopicPage, IsNeverLargerThanADefaultClientTakes) {
  constexpr size_t kTopics = 17'000;
  Image image;
  for (size_t i = 0; i < kTopics; ++i) {
    std::string name = std::to_string(i);
    AddTopic(std::string(249 - name.size(), 'x') + name, &image);
  }
  std::set<std::string> names;
  std::string token;
  do {
    const v1::ListTopicsResponse page = PageOf(image, token, 0);
    ASSERT_LE(page.ByteSizeLong(), kPageBytesMax + 1024);
    for (const v1::ListedTopic& topic : page.topics()) {
      ASSERT_TRUE(names.insert(topic.name()).second) << topic.name();
    }
    token = page.next_page_token();
  } while (!token.empty());
  EXPECT_EQ(names.size(), kTopics);
}

TEST(TopicPage, ATopicThatIsLargerThanAPage_StandsAlone) {
  Image image;
  AddTopic("a", &image);
  AddTopic("b", &image);
  v1::DescribeTopicsResponse page;
  FillPage(
      TopicsAfter(image, "", false), 0,
      [](const TopicInfo& topic, v1::Topic* out) {
        out->set_name(topic.name);
        (*out->mutable_settings())["key"] = std::string(kPageBytesMax, 'x');
      },
      &page);
  ASSERT_EQ(page.topics_size(), 1);
  EXPECT_EQ(page.next_page_token(), "a");
}

}  // namespace
}  // namespace millrace::broker
