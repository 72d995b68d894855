//! Members of one group that send to different destinations.

use crate::sandbox::reader::{GROUP, Reader, TOPIC, config, ends, group, sandbox, write};
use crate::support::binary::{self, Running};
use crate::support::eventually;
use crate::support::receiver::Receiver;
use sluicegate::kafka::config::{Config, MemberDestination, Share};
use sluicegate::kafka::group::assignor::Assignor;
use sluicegate::kafka::group::membership;
use sluicegate::kafka::sandbox::Sandbox;

const DIFFER: &str = "send to different destinations";
const AGREE: &str = "send to the same destination again";
const REFUSED: &str = "has members that send to another destination";
/// The group of a run without `--group`.
const DEFAULT_GROUP: &str = "sluicegate";

fn member(sandbox: &Sandbox, assignor: Assignor, digest: u8, must_be_shared: bool) -> Reader {
    let settings = membership::MembershipSettings { assignors: vec![assignor], ..group() };
    let destination = Some(MemberDestination { digest: [digest; 8], must_be_shared });
    Reader::open(sandbox, Config { destination, ..config(Share::Group(settings)) })
}

fn told(reader: &Reader, text: &str) -> usize {
    reader.notices.iter().filter(|notice| notice.contains(text)).count()
}

fn run(sandbox: &Sandbox, receiver: &Receiver, more: &[&str]) -> Running {
    let (brokers, url) = (sandbox.address().to_string(), receiver.url());
    binary::start(&[&["run", "--brokers", &brokers, "--topic", TOPIC, "--url", &url], more].concat())
}

#[test]
fn a_second_run_with_another_webhook_does_not_split_the_topic_unnoticed() {
    let sandbox = sandbox(1);
    let [first, second] = [Receiver::accepting(), Receiver::accepting()];
    write(&sandbox, 5);
    let delivers = run(&sandbox, &first, &[]);
    eventually("all is delivered", || sandbox.committed(DEFAULT_GROUP) == ends(&sandbox));
    let refused = run(&sandbox, &second, &[]).wait().expect(1);
    refused
        .saying(REFUSED)
        .saying("give this run a --group of its own")
        .saying("to mix them all the same, say --group sluicegate");
    eventually("the group is told of, and left alone", || delivers.said().contains(AGREE));
    write(&sandbox, 5);
    eventually("the first goes on", || sandbox.committed(DEFAULT_GROUP) == ends(&sandbox));
    assert_eq!((first.accepted().values().sum::<usize>(), second.begun()), (120, 0));
    delivers.signal("TERM");
    let said = delivers.wait().expect(0).stderr;
    assert_eq!((said.matches(DIFFER).count(), said.matches(AGREE).count()), (1, 1), "{said}");
}

#[test]
fn runs_with_one_webhook_and_runs_with_groups_of_their_own_hear_nothing() {
    let sandbox = sandbox(1);
    let [first, second] = [Receiver::accepting(), Receiver::accepting()];
    write(&sandbox, 5);
    let same = [run(&sandbox, &first, &[]), run(&sandbox, &first, &[])];
    let own = run(&sandbox, &second, &["--group", "own"]);
    eventually("both share", || {
        sandbox.group(DEFAULT_GROUP).is_some_and(|group| group.members.len() == 2 && group.state == "Stable")
    });
    eventually("both groups have all", || {
        [DEFAULT_GROUP, "own"].iter().all(|group| sandbox.committed(group) == ends(&sandbox))
    });
    for run in same.into_iter().chain([own]) {
        run.signal("TERM");
        let said = run.wait().expect(0).stderr;
        assert!(![DIFFER, AGREE, REFUSED].iter().any(|text| said.contains(text)), "{said}");
    }
    assert_eq!(second.accepted().values().sum::<usize>(), 60);
}

#[test]
fn members_of_a_named_group_that_send_elsewhere_are_told_once_and_go_on() {
    for assignor in [Assignor::CooperativeSticky, Assignor::Range] {
        let sandbox = sandbox(1);
        let mut first = member(&sandbox, assignor, 1, false);
        first.until("its partitions", |reader| reader.owned.len() == 4);
        let mut second = member(&sandbox, assignor, 2, false);
        second.until("half of them", |second| {
            first.step().unwrap();
            second.owned.len() == 2 && first.owned.len() == 2
        });
        sandbox.faults().rebalance(GROUP);
        write(&sandbox, 3);
        second.until("all of it", |_| {
            first.step().unwrap();
            sandbox.committed(GROUP) == ends(&sandbox)
        });
        for reader in [&first, &second] {
            assert_eq!((told(reader, DIFFER), told(reader, AGREE)), (1, 0), "{:?}", reader.notices);
            assert!(reader.was_told(": give each destination its own --group"), "{:?}", reader.notices);
        }
        drop(second);
        first.until("alone again", |first| told(first, AGREE) == 1 && first.owned.len() == 4);
    }
}

#[test]
fn whoever_leads_the_members_that_were_there_go_on() {
    for assignor in [Assignor::CooperativeSticky, Assignor::RoundRobin] {
        let sandbox = sandbox(1);
        let mut leader = member(&sandbox, assignor, 1, true);
        leader.until("its partitions", |reader| reader.owned.len() == 4);
        let mut follower = member(&sandbox, assignor, 1, true);
        follower.until("half of them", |follower| {
            leader.step().unwrap();
            follower.owned.len() == 2 && leader.owned.len() == 2
        });
        // The leader's place is free while the newcomer joins.
        let newcomer = std::thread::scope(|scope| {
            let newcomer = scope.spawn(|| {
                let mut newcomer = member(&sandbox, assignor, 2, true);
                let why = newcomer.fails("a newcomer that sends elsewhere");
                (why, newcomer.seen.len())
            });
            drop(leader);
            follower.until("the newcomer has gone", |_| newcomer.is_finished());
            newcomer.join().unwrap()
        });
        assert!(newcomer.0.contains(REFUSED) && newcomer.1 == 0, "{newcomer:?}");
        write(&sandbox, 3);
        follower.until("all of it", |follower| {
            follower.owned.len() == 4 && sandbox.committed(GROUP) == ends(&sandbox)
        });
    }
}

#[test]
fn a_member_that_says_nothing_about_its_destination_is_left_alone() {
    let sandbox = sandbox(1);
    let mut silent = Reader::member(&sandbox);
    silent.until("its partitions", |reader| reader.owned.len() == 4);
    let mut second = member(&sandbox, Assignor::CooperativeSticky, 2, true);
    second.until("half of them", |second| {
        silent.step().unwrap();
        second.owned.len() == 2 && silent.owned.len() == 2
    });
    drop(silent);
    second.until("all of them", |second| second.owned.len() == 4);
    let mut silent = Reader::member(&sandbox);
    silent.until("half of them", |silent| {
        second.step().unwrap();
        second.owned.len() == 2 && silent.owned.len() == 2
    });
    for reader in [&silent, &second] {
        assert_eq!((told(reader, DIFFER), told(reader, AGREE)), (0, 0), "{:?}", reader.notices);
    }
}
