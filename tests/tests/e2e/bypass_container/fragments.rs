//! Fragments and extension headers that leave the TCP header where it can be seen.

use anyhow::Result;

use super::counted_and_dropped;

#[test]
fn bypass_25_ipv4_fragments_that_show_the_header() -> Result<()> {
    counted_and_dropped(&["--via header --to 198.18.0.1 fragments --bytes 24"])
}

#[test]
fn bypass_27_extension_header_chains() -> Result<()> {
    counted_and_dropped(&[
        "--via header --to 2001:db8:1::1 chain --headers hop",
        "--via header --to 2001:db8:1::1 chain --headers hop,dst,dst",
        "--via header --to 2001:db8:1::1 chain --headers hop,dst,frag,dst",
        "--via frame --to 2001:db8:1::1 chain --headers hop,dst,dst,dst,dst,dst,dst,dst",
    ])
}
