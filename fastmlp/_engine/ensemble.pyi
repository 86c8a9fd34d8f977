from fastmlp._engine.protocol import Engine

train_many = Engine.train_many
