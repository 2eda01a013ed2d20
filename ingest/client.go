package ingest

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// client is the address a request comes from: that of the peer or, where the peer is a proxy that is trusted, the last
// one in X-Forwarded-For that is not. What stands further left anybody may have written. It is invalid where the peer
// has no address; it is personal data.
func (s *server) client(r *http.Request) netip.Addr { return ClientAddress(r, s.TrustedProxies) }

// ClientAddress is the address a request comes from, by proxies in the networks that are trusted.
func ClientAddress(r *http.Request, trusted []netip.Prefix) netip.Addr {
	peer, _ := hop(r.RemoteAddr)
	nearest := peer
	hops := r.Header["X-Forwarded-For"] // each proxy adds to the last line, or a line
	for line := len(hops) - 1; line >= 0; line-- {
		rest, more := hops[line], true
		for more {
			if !trusts(trusted, nearest) {
				return nearest
			}
			last := rest
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				rest, last = rest[:comma], rest[comma+1:]
			} else {
				more = false
			}
			address, ok := hop(strings.Trim(last, " \t"))
			if !ok {
				return peer
			}
			nearest = address
		}
	}
	return nearest
}

func trusts(proxies []netip.Prefix, address netip.Addr) bool {
	return slices.ContainsFunc(proxies, func(network netip.Prefix) bool { return network.Contains(address) })
}

// hop reads an address with or without a port.
func hop(text string) (netip.Addr, bool) {
	address, err := netip.ParseAddr(text)
	if err != nil {
		with, err := netip.ParseAddrPort(text)
		if err != nil {
			return netip.Addr{}, false
		}
		address = with.Addr()
	}
	return address.Unmap().WithZone(""), true
}

// network is whom a rate counts as one: an address, or of IPv6 the network that a subscriber is given
// (https://www.rfc-editor.org/rfc/rfc6177), who has all its addresses.
func network(client netip.Addr) netip.Prefix {
	bits := client.BitLen()
	if client.Is6() {
		bits = 64
	}
	of, _ := client.Prefix(bits) // none of none
	return of
}
