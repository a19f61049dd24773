//! Which interfaces lead to the world: those that the kernel would route far destinations over.

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, Ipv6Addr},
};

use futures_util::StreamExt as _;
use rtnetlink::{
    Error, Handle, RouteMessageBuilder, new_connection,
    packet_route::route::{RouteAttribute, RouteMessage},
};

/// A far destination: a root name server (<https://www.iana.org/domains/root/servers>), since the
/// addresses for documentation are often routed nowhere on purpose. Nothing is sent there.
const FAR4: Ipv4Addr = Ipv4Addr::new(198, 41, 0, 4);
/// The same for IPv6.
const FAR6: Ipv6Addr = Ipv6Addr::new(0x2001, 0x503, 0xba3e, 0, 0, 0, 2, 0x30);

/// Indices of the interfaces that lead to the world; none where there is no route. Of several routes
/// of equal cost the kernel tells one. To be called in a tokio runtime.
///
/// # Errors
///
/// The kernel cannot be asked.
pub async fn uplinks() -> io::Result<BTreeSet<u32>> {
    let (connection, handle, _) = new_connection()?;
    let connection = tokio::spawn(connection);
    let v4 = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(FAR4, 32);
    let v6 = RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(FAR6, 128);
    let mut found = BTreeSet::new();
    for request in [v4.build(), v6.build()] {
        found.extend(interface(&handle, request).await?);
    }
    drop(handle);
    connection.abort();
    Ok(found)
}

/// The interface of the route that the kernel would take; none: it has no route.
async fn interface(handle: &Handle, request: RouteMessage) -> io::Result<Option<u32>> {
    let mut routes = Box::pin(handle.route().get(request).execute());
    match routes.next().await {
        Some(Ok(route)) => Ok(route
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                RouteAttribute::Oif(ifindex) => Some(*ifindex),
                _ => None,
            })),
        // The kernel's way to say that there is no route.
        Some(Err(Error::NetlinkError(_))) | None => Ok(None),
        Some(Err(error)) => Err(io::Error::other(error)),
    }
}
