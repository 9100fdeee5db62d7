//! ▢ Who of the users has a connection: what scripts that give each user one have in common.

use super::{ClientId, End, Fleet, clock, order::Share, tally::Tally, target::Target};

/// The users of one generator with the connection that each of them has.
pub struct Roster {
    target: Target,
    share: Share,
    /// By place in the share.
    places: Vec<Place>,
    /// What has been counted.
    pub tally: Tally,
}

#[derive(Clone, Copy, Default)]
struct Place {
    client: Option<ClientId>,
    began_ns: u64,
}

impl Roster {
    /// Nobody yet.
    pub fn new(target: Target, share: Share) -> Self {
        Self { target, share, places: Vec::new(), tally: Tally::default() }
    }

    /// The user connects to the target; a failure is counted.
    pub fn connect(&mut self, fleet: &mut Fleet, user: u32, now_ns: u64) {
        let begun = fleet.connect(&self.target, user);
        self.take(user, now_ns, begun);
    }

    /// The same without WebSocket.
    pub fn connect_raw(&mut self, fleet: &mut Fleet, user: u32, now_ns: u64) {
        let begun = fleet.connect_raw(&self.target, user);
        self.take(user, now_ns, begun);
    }

    fn take(&mut self, user: u32, now_ns: u64, begun: std::io::Result<ClientId>) {
        let local = self.share.local(user);
        if self.places.len() <= local {
            self.places.resize_with(local + 1, Place::default);
        }
        self.tally.begun += 1;
        match begun {
            Ok(client) => {
                self.places[local] = Place { client: Some(client), began_ns: now_ns };
            }
            Err(error) => self.tally.fail(&format!("connect: {error}")),
        }
    }

    /// Its connection is open.
    pub fn opened(&mut self, client: ClientId) {
        let began_ns = self.place(client.user).map_or(0, |place| place.began_ns);
        self.tally.opened += 1;
        self.tally.opening.record(clock::now_ns().saturating_sub(began_ns));
    }

    /// Its connection has ended by itself, which is counted; `false` where it is another, older one.
    pub fn ended(&mut self, client: ClientId, end: &End) -> bool {
        let Some(place) = self.place(client.user).filter(|place| place.client == Some(client))
        else {
            return false;
        };
        place.client = None;
        self.tally.fail(&end.to_string());
        true
    }

    /// The connection that the user has; it has none from here on.
    pub fn forget(&mut self, user: u32) -> Option<ClientId> {
        self.place(user).and_then(|place| place.client.take())
    }

    /// The connection that the user has.
    pub fn client(&self, user: u32) -> Option<ClientId> {
        self.places.get(self.share.local(user)).and_then(|place| place.client)
    }

    fn place(&mut self, user: u32) -> Option<&mut Place> {
        self.places.get_mut(self.share.local(user))
    }
}
