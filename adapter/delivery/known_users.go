package delivery

import "hash/maphash"

// knownUsers is the users that SaaSquatch has, as far as this process remembers. SaaSquatch may
// have deleted a user: the set only says which call is likely to succeed.
type knownUsers struct {
	seeds [2]maphash.Seed
	set   *recentSet
}

// newKnownUsers returns a set that remembers at least the last size users.
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
