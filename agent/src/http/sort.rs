//! Order by distance: `?near=`.

use super::Call;
use crate::agent::Shared;
use lictor_state::View;

/// Sorts rows by the estimated round trip from the node that `?near=` names. Nodes without a
/// coordinate come last; an unknown node sorts nothing; equal distances keep their order.
pub fn near<T>(
    shared: &Shared,
    call: &Call,
    view: &View,
    rows: &mut [T],
    node: impl Fn(&T) -> &str,
) {
    let from = match call.params.get("near") {
        "" => return,
        "_agent" => shared.node_name.as_str(),
        "_ip" => return,
        name => name,
    };
    let Some(origin) = view.coordinate(from).cloned() else {
        return;
    };
    rows.sort_by_cached_key(|row| {
        let seconds = view
            .coordinate(node(row))
            .map_or(f64::INFINITY, |c| origin.distance_to(c));
        // Distances are not negative, so that their bits sort as they do.
        seconds.to_bits()
    });
}
