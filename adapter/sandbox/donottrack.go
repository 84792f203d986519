package sandbox

import "net/http"

// DoNotTrack deletes a user of every tenant, present and future, and marks it as not to be tracked. Until the next
// reset, the sandbox refuses to register the user again, and refuses its events.
//
// SaaSquatch publishes, with RS050, that a user deleted with a do-not-track mark cannot be registered again.
// Assumed: its events are refused as well.
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

// checkTracked returns an error if the user is not to be tracked. The caller holds the server's mutex.
func (t *tenant) checkTracked(ref userRef) *apiError {
	if _, ok := t.untracked[ref]; ok {
		return errDoNotTrack
	}
	return nil
}

func (s *Server) serveDoNotTrack(w http.ResponseWriter, r *http.Request) {
	var body struct {
		AccountID string `json:"accountId"`
		UserID    string `json:"userId"`
	}
	if !readControl(w, r, &body) || body.AccountID == "" || body.UserID == "" {
		http.Error(w, `want a body such as {"accountId":"a","userId":"u"}`, http.StatusBadRequest)
		return
	}
	s.DoNotTrack(body.AccountID, body.UserID)
	writeJSON(w, http.StatusOK, struct{}{})
}
