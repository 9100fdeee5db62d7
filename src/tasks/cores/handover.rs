//! ▢ The part of the shard that has a session, or claims it: giving it up.

use super::*;
use crate::tasks::table::Named;

/// The home says that the session of tenure `from` goes to `to`.
pub(super) fn on_hand_over<H: Host>(
    host: &mut H,
    id: &SessionId,
    from: Tenure,
    to: Tenure,
    now: Now,
    actions: &mut Vec<Action>,
) {
    let slot = host.table().find(id.as_str()).filter(|&slot| {
        host.table().get(slot).is_some_and(|session| session.tenure() == Some(from))
    });
    if let Some(slot) = slot {
        host.dispossess(slot, now, actions);
        let Some(cores) = host.cores() else { return };
        cores.leaving.insert(slot, to);
        return after_change(host, slot, now, actions);
    }
    let claimed = host.cores().and_then(|cores| cores.claims.pass_on(from.number, to));
    match claimed {
        Some(waiter) => host.dismiss(waiter, actions),
        // It has ended; its release crosses with this.
        None => tell(host, to.shard, PeerMessage::Vacant { tenure: to }, now, actions),
    }
}

/// Whether the session of `slot` is on its way to another shard.
pub fn is_leaving<Q>(cores: Option<&Cores<Q>>, slot: u32) -> bool {
    cores.is_some_and(|cores| cores.leaving.contains_key(&slot))
}

/// After any change of a session: one that is to go goes as soon as it can.
pub fn after_change<H: Host>(host: &mut H, slot: u32, now: Now, actions: &mut Vec<Action>) {
    let to = host.cores().and_then(|cores| cores.leaving.get(&slot).copied());
    let Some(to) = to.filter(|_| host.is_ready_to_go(slot, actions)) else { return };
    let Some(id) = host.table().get(slot).map(|session| session.id().clone()) else { return };
    let Some(cores) = host.cores() else { return };
    cores.leaving.remove(&slot);
    cores.ids.remove(&id);
    let Some(session) = host.depart(slot, to, now, actions) else { return };
    host.metrics().sessions.dec();
    host.metrics().sessions_moved_out.inc();
    let parcel = Parcel { tenure: to, session };
    tell(host, to.shard, PeerMessage::Moved(parcel), now, actions);
}

/// A session has ended here: its home may forget it, and who waits for it makes his own.
pub fn on_ended<H: Host>(host: &mut H, slot: u32, session: &H::Session, actions: &mut Vec<Action>) {
    let Some(cores) = host.cores() else { return };
    if let Some(to) = cores.leaving.remove(&slot) {
        let message = PeerMessage::Vacant { tenure: to };
        actions.push(Action::Tell { route: cores.route, to: to.shard, message });
    } else if let Some(tenure) = session.tenure() {
        release(host, session.id().clone(), tenure, actions);
    }
    set_gauges(host);
}
