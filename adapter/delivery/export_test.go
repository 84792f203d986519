package delivery

// RememberParked lets a Dispatcher remember so many parked events at most.
func (d *Dispatcher) RememberParked(most int) { d.userQueues.parked.most = most }
