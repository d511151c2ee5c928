//! The catalogue, and the `target` verbs.

use polyarch::target::Catalogue;

#[test]
fn every_guest_has_one_rule_and_every_target_a_guest() {
    let catalogue = Catalogue::builtin();
    assert_eq!(catalogue.targets().len(), 43);
    assert_eq!(catalogue.guests().len(), 33);
}
