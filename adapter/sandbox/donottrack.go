package sandbox

import "net/http"

// DoNotTrack deletes a user of every tenant, present and future, and marks it as not
// to be tracked: until the next reset it cannot be registered again, and its events
// are refused. SaaSquatch publishes this of users who were deleted with a
// do-not-track mark, with RS050. That it holds for events as well is assumed.
func (s *Server) DoNotTrack(accountID, userID string) {
	ref := userRef{accountID, userID}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.untracked[ref] = struct{}{}
	for _, t := range s.tenants {
		if t.users[ref] == nil {
			continue
		}
		delete(t.users, ref)
		if t.accounts[accountID]--; t.accounts[accountID] == 0 {
			delete(t.accounts, accountID)
		}
	}
}

// tracked returns the fault of what is about a user that is not to be tracked. The
// caller holds the server's mutex.
func (t *tenant) tracked(ref userRef) *apiError {
	if _, ok := t.untracked[ref]; ok {
		return errDoNotTrack
	}
	return nil
}

func (s *Server) serveDoNotTrack(w http.ResponseWriter, r *http.Request) {
	var order struct {
		AccountID string `json:"accountId"`
		UserID    string `json:"userId"`
	}
	if !readControl(w, r, &order) || order.AccountID == "" || order.UserID == "" {
		http.Error(w, `want a body such as {"accountId":"a","userId":"u"}`, http.StatusBadRequest)
		return
	}
	s.DoNotTrack(order.AccountID, order.UserID)
	writeJSON(w, http.StatusOK, struct{}{})
}
