use super::*;
use crate::disk::RealFs;
use crate::simulation::Scratch;
use lictor_state::State;

fn head(index: u64) -> SnapshotHead {
    SnapshotHead {
        last: Some(log_id(1, index)),
        ..SnapshotHead::default()
    }
}

fn view(index: u64) -> View {
    let mut state = State::default();
    state.skip(index);
    state.view()
}

fn open(scratch: &Scratch) -> (Found, Arc<Floor>) {
    let floor = Arc::new(Floor::default());
    (
        SnapshotStore::open(Arc::new(RealFs), scratch.path(), 1, floor.clone()).unwrap(),
        floor,
    )
}

fn names(scratch: &Scratch) -> Vec<String> {
    let mut names = RealFs.list(scratch.path()).unwrap();
    names.sort();
    names
}

#[test]
fn the_two_newest_are_kept_and_the_older_is_the_floor() {
    let scratch = Scratch::new("two");
    let (found, floor) = open(&scratch);
    assert!(found.newest.is_none());
    found.store.write(&head(10), &view(10)).unwrap();
    // A single one has nothing to fall back to but the whole log.
    assert_eq!(floor.lower(log_id(1, 99)), None);
    for index in [20, 30, 30] {
        found.store.write(&head(index), &view(index)).unwrap();
    }
    assert_eq!(names(&scratch), ["20-1.snap", "30-1.snap"]);
    assert_eq!(floor.lower(log_id(1, 99)), Some(log_id(1, 20)));
    assert_eq!(floor.lower(log_id(1, 9)), Some(log_id(1, 9)));
    let (found, floor) = open(&scratch);
    assert_eq!(found.newest.unwrap().view.index(), 30);
    assert_eq!(floor.lower(log_id(1, 99)), Some(log_id(1, 20)));
}

#[test]
fn a_damaged_one_is_passed_over_and_does_not_count() {
    let scratch = Scratch::new("damaged");
    let (found, _) = open(&scratch);
    for index in [10, 20] {
        found.store.write(&head(index), &view(index)).unwrap();
    }
    std::fs::write(scratch.path().join("20-1.snap"), b"LICTORRS\x01").unwrap();
    // Whole, but of another place.
    std::fs::copy(
        scratch.path().join("10-1.snap"),
        scratch.path().join("15-1.snap"),
    )
    .unwrap();
    std::fs::write(scratch.path().join("99-1.snap.tmp"), b"half").unwrap();
    std::fs::write(scratch.path().join("notes.txt"), b"not ours").unwrap();
    let (found, floor) = open(&scratch);
    assert_eq!(found.newest.unwrap().view.index(), 10);
    assert_eq!(found.damaged.len(), 2, "{:?}", found.damaged);
    assert_eq!(floor.lower(log_id(1, 99)), None);
    found.store.tidy().unwrap();
    for index in [30, 40] {
        found.store.write(&head(index), &view(index)).unwrap();
    }
    assert_eq!(names(&scratch), ["30-1.snap", "40-1.snap", "notes.txt"]);
}

#[test]
fn a_received_one_gets_its_name_when_it_is_taken_in() {
    let scratch = Scratch::new("received");
    let (found, _) = open(&scratch);
    let mut bytes = Vec::new();
    write(&head(5), &view(5), &mut bytes).unwrap();
    let (received, staged) = found
        .store
        .receive(7, &head(5), bytes.as_slice(), 3)
        .unwrap();
    assert_eq!((received.index(), received.epoch()), (5, 3));
    assert!(open(&scratch).0.newest.is_none());
    let kept = found.store.adopt(&staged, &head(5)).unwrap();
    assert_eq!(
        (kept.head, names(&scratch)),
        (head(5), vec!["5-1.snap".to_owned()])
    );

    // Another than was announced, or half of it, leaves nothing behind.
    assert!(
        found
            .store
            .receive(8, &head(6), bytes.as_slice(), 3)
            .is_err()
    );
    assert!(
        found
            .store
            .receive(9, &head(5), &bytes[..bytes.len() - 1], 3)
            .is_err()
    );
    assert!(receive(&head(6), bytes.as_slice(), 3).is_err());
    found.store.close();
    assert!(found.store.write(&head(6), &view(6)).is_err());
    assert!(
        found
            .store
            .receive(10, &head(5), bytes.as_slice(), 3)
            .is_err()
    );
    assert_eq!(names(&scratch), ["5-1.snap"]);
}
