package delivery

import "hash/maphash"

// knownUsers is the users that SaaSquatch is known to know, as far as they are
// remembered. It is lost with the process, and a user may be deleted at SaaSquatch:
// it only says which call is likely to succeed.
type knownUsers struct {
	seeds [2]maphash.Seed
	set   *recentSet
}

// newKnownUsers returns a set of the last size users at least.
func newKnownUsers(size int) *knownUsers {
	return &knownUsers{seeds: newSeeds(), set: newRecentSet(size)}
}

func (k *knownUsers) add(accountID, userID string)    { k.set.add(k.of(accountID, userID)) }
func (k *knownUsers) remove(accountID, userID string) { k.set.remove(k.of(accountID, userID)) }

func (k *knownUsers) has(accountID, userID string) bool {
	return k.set.contains(k.of(accountID, userID))
}

func (k *knownUsers) of(accountID, userID string) (f cacheKey) {
	for i, seed := range k.seeds {
		f[i] = maphash.Comparable(seed, user{accountID, userID})
	}
	return f
}
