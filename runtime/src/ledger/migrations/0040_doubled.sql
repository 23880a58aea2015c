-- What was delivered and may be there twice is found without a look at all that was delivered.
CREATE INDEX deliveries_doubled ON deliveries (taken_at) WHERE state = 'delivered' AND possible_duplicate = 1;
