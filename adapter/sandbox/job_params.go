package sandbox

import (
	"encoding/json"
	"strings"
)

// Import names the import job of an event, and the parts of SaaSquatch that may react to the event. The values are
// those of the job's importEvaluationOptions: true, false, or an object that lists the parts.
type Import struct {
	// Job is the job's id.
	Job       string          `json:"job"`
	Webhooks  json.RawMessage `json:"webhooks"`
	Programs  json.RawMessage `json:"programs"`
	Analytics json.RawMessage `json:"analytics"`
}

// jobParams are the valid params of a job.
type jobParams struct {
	Evaluation Import   `json:"importEvaluationOptions"`
	Segments   []string `json:"segments"` // operations for every user of the file
}

// parseJobParams checks params, decoded from JSON, for a type of job; nil stands for none. It returns all problems.
// The defaults true of webhooks and programs are published. Assumed: that of analytics.
func parseJobParams(kind jobKind, value any) (jobParams, []string) {
	yes := json.RawMessage("true")
	params := jobParams{Evaluation: Import{Webhooks: yes, Programs: yes, Analytics: yes}}
	if value == nil {
		return params, nil
	}
	definition := "eventJob"
	if kind == userJob {
		definition = "userJob"
	}
	var texts []string
	for _, apiErr := range violations(definition, value, func(place []string) string {
		return strings.Join(append([]string{"params"}, place...), ".")
	}) {
		texts = append(texts, apiErr.message+".")
	}
	if len(texts) > 0 {
		return params, texts
	}
	// Neither can fail: the value was decoded from JSON and is valid.
	text, _ := json.Marshal(value)
	_ = json.Unmarshal(text, &params)
	return params, nil
}
